// SPDX-License-Identifier: MIT
//
// Saves or restores values in one fixed order: the same code names each value
// once and serves both directions. When restoring, the data is not trusted: a
// short or implausible input makes ok() false and leaves zeros.
#ifndef NPU_MODEL_ARCHIVE_H_
#define NPU_MODEL_ARCHIVE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

namespace npu::model {

class Archive {
 public:
  Archive() = default;  // saves
  Archive(const uint8_t* data, size_t bytes) : in_(data), left_(bytes), saving_(false) {}

  bool saving() const { return saving_; }
  bool ok() const { return ok_; }
  bool at_end() const { return left_ == 0; }
  void fail() { ok_ = false; }
  // What the restored values must satisfy.
  void require(bool condition) { ok_ = ok_ && condition; }
  std::vector<uint8_t> take() { return std::move(out_); }

  void raw(void* data, size_t bytes) {
    auto* at = static_cast<uint8_t*>(data);
    if (saving_) {
      out_.insert(out_.end(), at, at + bytes);
    } else if (!ok_ || bytes > left_) {
      ok_ = false;
      std::memset(at, 0, bytes);
    } else {
      std::memcpy(at, in_, bytes);
      in_ += bytes;
      left_ -= bytes;
    }
  }

  // Plain data without padding that matters: padding is saved as zero.
  template <typename T>
  void value(T& v) {
    static_assert(std::is_trivially_copyable_v<T> && !std::is_same_v<T, bool>);
    raw(&v, sizeof(v));
  }
  template <typename T>
  void value(std::atomic<T>& v) {
    T copy = v.load();
    value(copy);
    if (!saving_) v.store(copy);
  }
  void flag(bool& v) {
    uint8_t byte = v ? 1 : 0;
    value(byte);
    require(byte <= 1);
    v = byte == 1;
  }
  template <typename T>
  void enumeration(T& v, uint32_t end) {
    auto number = static_cast<uint32_t>(v);
    value(number);
    require(number < end);
    if (!saving_) v = static_cast<T>(ok_ ? number : 0);
  }
  // At most `most` elements of plain data.
  template <typename T>
  void list(std::vector<T>& v, size_t most) {
    uint64_t count = v.size();
    value(count);
    require(count <= most && (saving_ || count * sizeof(T) <= left_));
    if (!ok_) count = 0;
    if (!saving_) v.assign(count, T{});
    if (count > 0) raw(v.data(), count * sizeof(T));
  }

 private:
  std::vector<uint8_t> out_;
  const uint8_t* in_ = nullptr;
  size_t left_ = 0;
  bool saving_ = true;
  bool ok_ = true;
};

}  // namespace npu::model

#endif  // NPU_MODEL_ARCHIVE_H_
