// SPDX-License-Identifier: MIT
//
// Finding kernel devices in a sysfs that a test made.
#include "selector.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace npu::umd {
namespace {

namespace fs = std::filesystem;

class Sysfs : public ::testing::Test {
 protected:
  // A folder of its own: tests run side by side.
  void SetUp() override {
    std::string name = ::testing::TempDir() + "npu-sysfs-XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    root_ = name;
    fs::create_directories(accel());
  }
  void TearDown() override { fs::remove_all(root_); }
  fs::path accel() const { return root_ / "class/accel"; }

  // accelN of a driver, at a PCI address.
  void add(const std::string& name, const std::string& driver, const std::string& bdf) {
    fs::create_directories(root_ / "devices" / bdf);
    fs::create_directories(root_ / "drivers" / driver);
    fs::create_directory_symlink(root_ / "drivers" / driver, root_ / "devices" / bdf / "driver");
    fs::create_directories(accel() / name);
    fs::create_directory_symlink(root_ / "devices" / bdf, accel() / name / "device");
  }
  std::vector<npu_device_info> list() { return list_kernel_devices(accel(), "/dev/accel"); }

  fs::path root_;
};

TEST_F(Sysfs, DevicesOfTheDriverAreListedByIndex) {
  add("accel10", "npu", "0000:02:00.0");
  add("accel2", "npu", "0000:01:00.0");
  add("accel0", "another", "0000:03:00.0");
  const auto devices = list();
  ASSERT_EQ(devices.size(), 2u);
  EXPECT_EQ(devices[0].index, 2u);
  EXPECT_STREQ(devices[0].selector, "2");
  EXPECT_STREQ(devices[0].node, "/dev/accel/accel2");
  EXPECT_STREQ(devices[0].bdf, "0000:01:00.0");
  EXPECT_EQ(devices[1].index, 10u);
}

TEST_F(Sysfs, WhatIsNoDeviceIsPassedOver) {
  add("accelerator", "npu", "0000:01:00.0");
  add("accel", "npu", "0000:02:00.0");
  add("accel3x", "npu", "0000:03:00.0");
  add("accel99999999999", "npu", "0000:04:00.0");
  fs::create_directories(accel() / "accel5");  // without a device
  std::ofstream(accel() / "accel6") << "a file";
  EXPECT_TRUE(list().empty());
}

TEST_F(Sysfs, NoSysfsIsNoDevice) {
  fs::remove_all(root_);
  EXPECT_TRUE(list().empty());
}

}  // namespace
}  // namespace npu::umd
