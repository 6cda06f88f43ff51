// SPDX-License-Identifier: MIT
//
// A folder of inputs to calibrate with.
#ifndef NPU_TOOLS_COMPILE_SAMPLES_H_
#define NPU_TOOLS_COMPILE_SAMPLES_H_

#include <cstddef>
#include <string>
#include <vector>

#include "compiler/calibrate/calibrate.h"
#include "tools/common/tensor_file.h"
#include "tools/compile/progress.h"

namespace npu::tools {

// Files .npy and .pb of float32, in the order of their names. A model of one input finds them in
// the folder itself; else, or if there is such a folder, each input's lie in one of its name
// (file_stem). A file whose first dimension is a multiple of the input's holds several samples.
// All files are read and checked at once, and kept for no longer than they are used.
class SampleFolder {
 public:
  // Throws ToolError.
  SampleFolder(const std::string& folder, const std::vector<compiler::Calibrator::Input>& inputs,
               Progress& progress);

  size_t count() const { return count_; }
  size_t files() const { return files_; }
  // The values of each input.
  std::vector<std::vector<float>> read(size_t sample);

 private:
  struct File {
    std::string path;
    size_t first = 0, count = 0;  // samples in it
  };
  struct Series {
    compiler::Calibrator::Input input;
    std::vector<File> files;
    std::string open;  // file that `tensor` is from
    Tensor tensor;
  };

  size_t scan(Series& series, const std::string& folder, Progress& progress);
  static Tensor load(const Series& series, const std::string& path);

  std::vector<Series> series_;
  size_t count_ = 0;
  size_t files_ = 0;
};

}  // namespace npu::tools

#endif  // NPU_TOOLS_COMPILE_SAMPLES_H_
