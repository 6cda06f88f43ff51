// SPDX-License-Identifier: MIT
#include "tensor_file.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <stdexcept>

namespace conformance {
namespace {

class TensorFile : public testing::Test {
 protected:
  std::string path(const char* suffix) {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    std::string p = testing::TempDir() + "tensor_file_" + test->name() + suffix;
    files_.push_back(p);
    return p;
  }
  std::string write(const char* suffix, const std::string& bytes) {
    const std::string p = path(suffix);
    std::ofstream(p, std::ios::binary) << bytes;
    return p;
  }
  void TearDown() override {
    for (const std::string& file : files_) std::remove(file.c_str());
  }

 private:
  std::vector<std::string> files_;
};

TEST_F(TensorFile, NpyRoundTripKeepsTypeShapeAndBytes) {
  for (const std::vector<int64_t>& shape :
       {std::vector<int64_t>{}, {3}, {2, 3}, {1, 2, 3, 1}, {0, 4}}) {
    Tensor out;
    out.type = ElementType::kInt32;
    out.shape = shape;
    size_t count = 1;
    for (int64_t dim : shape) count *= static_cast<size_t>(dim);
    for (size_t i = 0; i < 4 * count; ++i) out.bytes.push_back(static_cast<uint8_t>(i * 37));
    const std::string file = path(".npy");
    write_npy(file, out);
    const Tensor in = read_npy(file);
    EXPECT_EQ(in.type, out.type);
    EXPECT_EQ(in.shape, out.shape);
    EXPECT_EQ(in.bytes, out.bytes);
  }
}

TEST_F(TensorFile, NpyRefusesDataThatDoesNotFitItsShape) {
  Tensor out;
  out.type = ElementType::kUint8;
  out.shape = {4};
  out.bytes = {1, 2, 3};
  const std::string file = path(".npy");
  write_npy(file, out);
  EXPECT_THROW(read_npy(file), std::runtime_error);
}

TEST_F(TensorFile, EveryTruncationIsAnError) {
  Tensor out;
  out.type = ElementType::kUint8;
  out.shape = {4};
  out.bytes = {1, 2, 3, 4};
  const std::string whole_file = path(".npy");
  write_npy(whole_file, out);
  std::ifstream in(whole_file, std::ios::binary);
  const std::string whole((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  for (size_t size = 0; size < whole.size(); ++size)
    EXPECT_THROW(read_npy(write("_cut.npy", whole.substr(0, size))), std::runtime_error) << size;
}

// dims {2, 3} packed, data_type uint8, raw_data.
const std::string kRawProto("\x0a\x02\x02\x03\x10\x02\x4a\x06\x01\x02\x03\x04\x05\x06", 14);

TEST_F(TensorFile, ReadsTensorProtoWithRawData) {
  const Tensor t = read_tensor_proto(write(".pb", kRawProto));
  EXPECT_EQ(t.type, ElementType::kUint8);
  EXPECT_EQ(t.shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(t.bytes, (std::vector<uint8_t>{1, 2, 3, 4, 5, 6}));
}

TEST_F(TensorFile, ReadsTensorProtoWithIntegersBeforeTheType) {
  // int32_data {-1, 7} packed, dims {2} unpacked, data_type int8 last.
  const std::string proto("\x2a\x0b\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x07\x08\x02\x10\x03",
                          17);
  const Tensor t = read_tensor_proto(write(".pb", proto));
  EXPECT_EQ(t.type, ElementType::kInt8);
  EXPECT_EQ(t.shape, (std::vector<int64_t>{2}));
  EXPECT_EQ(t.bytes, (std::vector<uint8_t>{0xff, 7}));
}

TEST_F(TensorFile, TruncatedOrInconsistentTensorProtoIsAnError) {
  for (size_t size = 1; size < kRawProto.size(); ++size)
    EXPECT_THROW(read_tensor_proto(write(".pb", kRawProto.substr(0, size))), std::runtime_error)
        << size;
  std::string unknown_type = kRawProto;
  unknown_type[5] = 8;  // string
  EXPECT_THROW(read_tensor_proto(write(".pb", unknown_type)), std::runtime_error);
}

TEST_F(TensorFile, MissingFileIsAnError) {
  EXPECT_THROW(read_tensor("/nonexistent.npy"), std::runtime_error);
}

}  // namespace
}  // namespace conformance
