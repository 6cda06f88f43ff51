// SPDX-License-Identifier: MIT
#include "tools/common/manual.h"

#include <fmt/format.h>

#include <algorithm>

#include "tools/common/exit_codes.h"

namespace npu::tools {
namespace {

std::string upper(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return toupper(c); });
  return text;
}

// Text for roff: backslashes, dashes, and dots and quotes at a line's start.
std::string escaped(const std::string& text) {
  std::string out;
  bool line_start = true;
  for (char c : text) {
    if (line_start && (c == '.' || c == '\'')) out += "\\&";
    if (c == '\\') {
      out += "\\\\";
    } else if (c == '-') {
      out += "\\-";
    } else {
      out += c;
    }
    line_start = c == '\n';
  }
  return out;
}

std::vector<const CLI::App*> subcommands(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App*) { return true; });
}

bool is_shown(const CLI::Option& option) {
  return !option.get_group().empty();
}

// "--device TEXT", "--json, -j FILE"
std::string option_heading(const CLI::Option& option) {
  std::string text = option.get_positional() ? option.get_name(true) : option.get_name(false, true);
  std::string out;
  for (char c : text) out += c == ',' ? std::string(", ") : std::string(1, c);
  if (option.get_expected_max() > 0 && !option.get_type_name().empty() &&
      !option.get_positional()) {
    out += " " + option.get_type_name();
  }
  return out;
}

void append_options(const CLI::App& app, std::string& out) {
  for (const CLI::Option* option : app.get_options()) {
    if (!is_shown(*option)) continue;
    out += ".TP\n.B " + escaped(option_heading(*option)) + "\n";
    out += escaped(option->get_description());
    if (!option->get_default_str().empty()) {
      out += escaped(" (default: " + option->get_default_str() + ")");
    }
    out += "\n";
  }
}

std::string synopsis(const CLI::App& app) {
  std::string text = "[OPTIONS]";
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_positional()) text += " " + option->get_name(true);
  }
  return text;
}

std::string option_words(const CLI::App& app) {
  std::string words;
  for (const CLI::Option* option : app.get_options()) {
    if (!is_shown(*option)) continue;
    for (const std::string& name : option->get_lnames()) words += " --" + name;
    for (const std::string& name : option->get_snames()) words += " -" + name;
  }
  return words;
}

}  // namespace

std::string manual_page(const CLI::App& app,
                        const std::vector<std::pair<std::string, std::string>>& examples) {
  const std::string name = app.get_name();
  std::string first_line = app.get_description();
  first_line = first_line.substr(0, first_line.find('\n'));
  std::string out =
      ".\\\" SPDX-License-Identifier: MIT\n.\\\" Generated from the program's description.\n";
  out += ".TH " + upper(name) + " 1 \"\" \"npu " NPU_VERSION "\" \"NPU tools\"\n";
  out += ".SH NAME\n" + escaped(name + " - " + first_line) + "\n";
  out += ".SH SYNOPSIS\n";
  const auto subs = subcommands(app);
  if (app.get_require_subcommand_min() == 0) {
    out += ".B " + escaped(name) + "\n" + escaped(synopsis(app)) + "\n";
  }
  for (const CLI::App* sub : subs) {
    out +=
        ".br\n.B " + escaped(name + " " + sub->get_name()) + "\n" + escaped(synopsis(*sub)) + "\n";
  }
  out += ".SH DESCRIPTION\n" + escaped(app.get_description()) + "\n";
  out += ".SH OPTIONS\n";
  append_options(app, out);
  for (const CLI::App* sub : subs) {
    out += ".SH " + escaped(upper(sub->get_name())) + "\n" + escaped(sub->get_description()) + "\n";
    append_options(*sub, out);
  }
  if (!examples.empty()) {
    out += ".SH EXAMPLES\n";
    for (const auto& [command, text] : examples) {
      out += ".TP\n.B " + escaped(command) + "\n" + escaped(text) + "\n";
    }
  }
  out += ".SH EXIT STATUS\n";
  for (const ExitCodeText& code : kExitCodes) {
    out += fmt::format(".TP\n.B {}\n{}\n", static_cast<int>(code.code), escaped(code.text));
  }
  out += ".SH ENVIRONMENT\n.TP\n.B NPU_DEVICE\n" +
         escaped("device to use when --device is not given: index, PCI address, node, or sim") +
         "\n";
  return out;
}

std::string bash_completion(const CLI::App& app) {
  const std::string name = app.get_name();
  std::string function = "_" + name;
  std::replace(function.begin(), function.end(), '-', '_');
  std::string out = "# SPDX-License-Identifier: MIT\n# Generated from the description of " + name +
                    ".\n" + function + "() {\n\tlocal word=${COMP_WORDS[COMP_CWORD]} words\n";
  std::string top = option_words(app);
  const auto subs = subcommands(app);
  for (const CLI::App* sub : subs) top += " " + sub->get_name();
  out += "\twords='" + top.substr(top.empty() ? 0 : 1) + "'\n";
  if (!subs.empty()) {
    out += "\tcase ${COMP_WORDS[1]} in\n";
    for (const CLI::App* sub : subs) {
      const std::string words = option_words(*sub);
      out += "\t" + sub->get_name() + ") words='" + words.substr(words.empty() ? 0 : 1) + "' ;;\n";
    }
    out += "\tesac\n";
  }
  out += "\tCOMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n}\ncomplete -o default -F " +
         function + " " + name + "\n";
  return out;
}

}  // namespace npu::tools
