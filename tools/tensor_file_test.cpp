// SPDX-License-Identifier: MIT
#include "tools/common/tensor_file.h"

#include <gtest/gtest.h>
#include <onnx_subset.pb.h>

#include <cstdio>
#include <cstring>
#include <random>

#include "tools/common/program.h"

namespace npu::tools {
namespace {

std::vector<std::byte> bytes_of(const std::string& text) {
  const auto* data = reinterpret_cast<const std::byte*>(text.data());
  return {data, data + text.size()};
}

// A version 1 file with that header and `payload` zero bytes.
std::vector<std::byte> npy(const std::string& header, size_t payload) {
  std::string text = "\x93NUMPY";
  text += '\x01';
  text += '\0';
  text += static_cast<char>(header.size() & 0xff);
  text += static_cast<char>(header.size() >> 8);
  text += header;
  text.append(payload, '\0');
  return bytes_of(text);
}

constexpr char kGood[] = "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3), }\n";

TEST(Npy, WrittenFilesAreReadBack) {
  const std::string path = ::testing::TempDir() + "/roundtrip.npy";
  for (npu_type type : {NPU_ELEMENT_INT8, NPU_ELEMENT_UINT8, NPU_ELEMENT_INT32, NPU_ELEMENT_FP32}) {
    for (const std::vector<uint64_t>& shape :
         std::vector<std::vector<uint64_t>>{{}, {5}, {2, 3}, {1, 2, 3, 4}}) {
      Tensor tensor;
      tensor.type = type;
      tensor.shape = shape;
      tensor.bytes.resize(tensor.elements() * element_bytes(type));
      for (size_t i = 0; i < tensor.bytes.size(); i++) tensor.bytes[i] = std::byte(i * 37);
      write_npy(path, tensor);
      const Tensor back = read_tensor(path);
      EXPECT_EQ(back.type, type);
      EXPECT_EQ(back.shape, shape);
      EXPECT_EQ(back.bytes, tensor.bytes);
    }
  }
  std::remove(path.c_str());
}

TEST(Npy, WhatNumpyWritesIsUnderstood) {
  EXPECT_EQ(parse_npy(npy(kGood, 6), "f").shape, (std::vector<uint64_t>{2, 3}));
  EXPECT_EQ(
      parse_npy(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }", 12), "f").type,
      NPU_ELEMENT_FP32);
  EXPECT_EQ(
      parse_npy(npy("{'descr': '|i1', 'fortran_order': False, 'shape': (), }", 1), "f").elements(),
      1u);
}

TEST(Npy, WrongFilesAreRefusedWithTheirName) {
  const std::vector<std::byte> wrong[] = {
      {},
      bytes_of("not an array"),
      npy(kGood, 5),
      npy(kGood, 7),
      npy("", 0),
      npy("{", 0),
      npy("{'descr': '|u1'}", 6),
      npy("{'descr': '|u1', 'fortran_order': True, 'shape': (2, 3), }", 6),
      npy("{'descr': '>f4', 'fortran_order': False, 'shape': (1,), }", 4),
      npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }", 8),
      npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", 8),
      npy("{'descr': '|u1', 'fortran_order': False, 'shape': (-1,), }", 8),
      npy("{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999999999,), }", 8),
      npy("{'descr': '|u1', 'fortran_order': False, 'shape': (4294967296, 4294967296), }", 8),
      npy("{'descr': '', 'fortran_order': False, 'shape': (1,), }", 1),
      npy("{'descr': '|u1', 'fortran_order': False, 'shape': (6,), } trailing", 6),
  };
  for (const auto& file : wrong) {
    try {
      parse_npy(file, "the-file");
      ADD_FAILURE() << "accepted: "
                    << std::string(reinterpret_cast<const char*>(file.data()), file.size());
    } catch (const ToolError& error) {
      EXPECT_EQ(error.code(), kExitBadInput);
      EXPECT_NE(std::string(error.what()).find("the-file"), std::string::npos);
    }
  }
}

TEST(Npy, DamageNeverCrashes) {
  const std::vector<std::byte> good = npy(kGood, 6);
  std::mt19937 random(5);
  for (int round = 0; round < 20000; round++) {
    std::vector<std::byte> file = good;
    file.resize(random() % (good.size() + 1));
    for (unsigned n = random() % 4; n > 0 && !file.empty(); n--) {
      file[random() % file.size()] = static_cast<std::byte>(random());
    }
    try {
      const Tensor tensor = parse_npy(file, "f");
      EXPECT_EQ(tensor.bytes.size(), tensor.elements() * element_bytes(tensor.type));
    } catch (const ToolError&) {
    }
  }
}

TEST(TensorProto, RawAndTypedDataAreRead) {
  npu::onnx::Tensor proto;
  proto.set_data_type(3);
  proto.add_dims(2);
  proto.set_name("x");
  proto.set_raw_data("\x01\xff");
  Tensor tensor = parse_tensor_proto(bytes_of(proto.SerializeAsString()), "f");
  EXPECT_EQ(tensor.name, "x");
  EXPECT_EQ(tensor.type, NPU_ELEMENT_INT8);
  EXPECT_EQ(tensor.bytes[1], std::byte{0xff});
  proto.clear_raw_data();
  proto.add_int32_data(-2);
  proto.add_int32_data(7);
  tensor = parse_tensor_proto(bytes_of(proto.SerializeAsString()), "f");
  EXPECT_EQ(tensor.bytes[0], std::byte{0xfe});
  EXPECT_EQ(tensor.bytes[1], std::byte{7});
}

TEST(TensorProto, InconsistentFilesAreRefused) {
  const auto refused = [](auto change) {
    npu::onnx::Tensor proto;
    proto.set_data_type(2);
    proto.add_dims(2);
    proto.set_raw_data("ab");
    change(proto);
    try {
      parse_tensor_proto(bytes_of(proto.SerializeAsString()), "f");
      return false;
    } catch (const ToolError&) {
      return true;
    }
  };
  EXPECT_FALSE(refused([](auto&) {}));
  EXPECT_TRUE(refused([](auto& p) { p.set_dims(0, 3); }));
  EXPECT_TRUE(refused([](auto& p) { p.set_dims(0, -2); }));
  EXPECT_TRUE(refused([](auto& p) { p.set_dims(0, int64_t{1} << 62); }));
  EXPECT_TRUE(refused([](auto& p) { p.set_data_type(8); }));
  EXPECT_TRUE(refused([](auto& p) { p.set_data_location(1); }));
  EXPECT_THROW(parse_tensor_proto({}, "f"), ToolError);
  EXPECT_THROW(parse_tensor_proto(bytes_of("\xff\xff\xff"), "f"), ToolError);
}

TEST(FileStem, IsSafe) {
  EXPECT_EQ(file_stem("a/b:0"), "a_b_0");
  EXPECT_EQ(file_stem("../x"), "_.._x");
  EXPECT_EQ(file_stem(""), "_");
}

}  // namespace
}  // namespace npu::tools
