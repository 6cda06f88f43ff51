// SPDX-License-Identifier: MIT
//
// One table of every member of every struct that user space passes in, each with
// the wrong values of its kind and the error that must answer them. After each
// the counts are what they were, and a good call works.
// tests/vm/kmd/check_uapi.py fails if a member of the header is not here.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "device.h"
#include "streams.h"

namespace kmd {
namespace {

// Two clients, and what calls of the first refer to.
class World {
 public:
  World() {
    for (uint32_t& id : other_vms_) EXPECT_EQ(other.create_vm(id), 0);
    for (auto& buffer : other_buffers_)
      buffer = std::make_unique<Buffer>(other, kPage, DRM_NPU_PLACEMENT_HOST);
    for (uint32_t& handle : other_syncobjs_) handle = other.create_syncobj(true);
    EXPECT_EQ(device.create_vm(closed_vm_), 0);
    EXPECT_EQ(device.create_queue(lookup.vm(), closed_queue_), 0);
    EXPECT_EQ(device.destroy_vm(closed_vm_), 0);
    EXPECT_EQ(device.destroy_queue(closed_queue_), 0);
    closed_buffer_ = Buffer(device, kPage, DRM_NPU_PLACEMENT_HOST).handle();
    closed_syncobj_ = device.create_syncobj();
    device.destroy_syncobj(closed_syncobj_);
    pages_ = static_cast<uint8_t*>(
        mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    mprotect(pages_ + kPage, kPage, PROT_NONE);
  }
  ~World() { munmap(pages_, 2 * kPage); }

  std::vector<uint64_t> vms() const { return {0, 16, ~0u, closed_vm_, other_vms_[7]}; }
  std::vector<uint64_t> queues() const { return {0, 16, ~0u, closed_queue_}; }
  std::vector<uint64_t> buffers() const {
    return {0, 9999, ~0u, closed_buffer_, other_buffers_[15]->handle()};
  }
  std::vector<uint64_t> syncobjs() const {
    return {0, 9999, ~0u, closed_syncobj_, other_syncobjs_[15]};
  }
  // NULL, the first page, unmapped, the kernel's, not canonical, and 8 bytes before unmapped.
  std::vector<uint64_t> pointers() const {
    return {0,
            64,
            0x7eee'0000'0000,
            0xffff'8880'0000'0000,
            1ull << 63,
            reinterpret_cast<uint64_t>(pages_) + kPage - 8};
  }

  Device device, other;
  LookupJob lookup{device, 256, 1};
  Buffer buffer{device, 4 * kPage, DRM_NPU_PLACEMENT_HOST};
  npu_target target = device.target();
  uint32_t wait = device.create_syncobj(true);
  // Signalled: short structs leave it out.
  uint32_t signal = device.create_syncobj(true);

 private:
  uint32_t other_vms_[8] = {};
  std::unique_ptr<Buffer> other_buffers_[16];
  uint32_t other_syncobjs_[16] = {};
  uint32_t closed_vm_ = 0, closed_queue_ = 0, closed_buffer_ = 0, closed_syncobj_ = 0;
  uint8_t* pages_ = nullptr;
};

// ---- Kinds of members ----

struct Wrong {
  uint64_t value;
  int error;
};
using Values = std::vector<Wrong>;
using Kind = std::function<Values(const World&)>;

Values all(const std::vector<uint64_t>& values, int error) {
  Values wrong;
  for (const uint64_t value : values) wrong.push_back({value, error});
  return wrong;
}
Kind values(std::vector<uint64_t> list) {
  return [=](const World&) { return all(list, -EINVAL); };
}
// Every bit that is not known: of flags, masks, and with none known of padding.
Kind bits(uint64_t known, int width = 32) {
  std::vector<uint64_t> list;
  for (int bit = 0; bit < width; ++bit)
    if ((known >> bit & 1) == 0) list.push_back(1ull << bit);
  return values(list);
}
const Kind zero = bits(0);
Kind enumeration(uint32_t count) {
  return values({count, count + 1, 0x8000'0000, ~0u});
}
const Kind vm = [](const World& w) { return all(w.vms(), -ENOENT); };
const Kind queue = [](const World& w) { return all(w.queues(), -ENOENT); };
const Kind gem = [](const World& w) { return all(w.buffers(), -ENOENT); };
const Kind syncobj = [](const World& w) { return all(w.syncobjs(), -ENOENT); };
const Kind pointer = [](const World& w) { return all(w.pointers(), -EFAULT); };
// The driver's to write: what was there before does not matter.
const Kind out = [](const World&) { return Values{{0, 0}, {~0ull, 0}, {1, 0}}; };
Kind cores() {
  return [](const World& w) { return bits((1u << w.target.cores) - 1)(w); };
}

struct Field {
  std::string name;
  size_t offset, size;
  Kind kind;
};
#define FIELD(type, member, ...)                                                 \
  Field {                                                                        \
#type "." #member, offsetof(type, member), sizeof(type::member), __VA_ARGS__ \
  }
#define ELEMENT(type, member, index, ...)                                           \
  Field {                                                                           \
#type "." #member "[" #index "]", offsetof(type, member[index]), 4, __VA_ARGS__ \
  }
// The driver only writes these: DEV_QUERY's blocks, and a member of one.
#define OUTPUT_STRUCT(type) static_assert(sizeof(type) % 8 == 0)
OUTPUT_STRUCT(drm_npu_caps);
OUTPUT_STRUCT(drm_npu_telemetry);
OUTPUT_STRUCT(drm_npu_counters);
OUTPUT_STRUCT(drm_npu_engine);
OUTPUT_STRUCT(drm_npu_engines);
OUTPUT_STRUCT(drm_npu_clock);
OUTPUT_STRUCT(drm_npu_fault);

// ---- Calls ----

// One call that works. Arrays are patched in where they belong.
struct Call {
  struct Array {
    size_t offset;  // of the drm_npu_array
    std::vector<uint8_t> bytes;
  };
  unsigned long request = 0;
  std::vector<uint8_t> args;
  std::vector<Array> arrays;
  std::function<void()> undo_anyway = [] {};
  std::function<void(const void*)> undo_success = [](const void*) {};

  template <typename T>
  void set(unsigned long number, const T& value) {
    request = number;
    args.assign(reinterpret_cast<const uint8_t*>(&value),
                reinterpret_cast<const uint8_t*>(&value) + sizeof(value));
  }
  template <typename T>
  void add(size_t offset, const T& element) {
    const drm_npu_array array = {.stride = sizeof(T), .count = 1, .array = 0};
    memcpy(args.data() + offset, &array, sizeof(array));
    const auto* bytes = reinterpret_cast<const uint8_t*>(&element);
    arrays.push_back({offset, {bytes, bytes + sizeof(T)}});
  }
};

struct Elements {
  size_t offset;
  std::vector<Field> fields;
};
struct Case {
  std::string name;
  std::function<Call(World&)> good;
  std::vector<Field> fields;
  std::vector<Elements> elements;
};

std::vector<Field> operator+(std::vector<Field> a, const std::vector<Field>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

// The members of one drm_npu_array inside `offset`.
std::vector<Field> array_fields(size_t offset, uint32_t size, uint32_t most, bool required) {
  std::vector<uint64_t> counts = {most + 1, 0x1'0000, 0x8000'0000, ~0u};
  if (required) counts.push_back(0);
  std::vector<Field> fields = {
      FIELD(drm_npu_array, stride, values({0, 8, size - 8, size + 4, 1032, 0x8000'0000, ~0u})),
      FIELD(drm_npu_array, count, values(counts)), FIELD(drm_npu_array, array, pointer)};
  for (Field& field : fields) field.offset += offset;
  return fields;
}

const std::vector<Field> kSyncFields = {
    FIELD(drm_npu_sync, handle, syncobj),
    FIELD(drm_npu_sync, flags, bits(0)),  // TIMELINE as well: there is no point
    FIELD(drm_npu_sync, point, values({1, ~0ull}))};

constexpr uint64_t kNotAPage = ~(kPage - 1);

drm_npu_sync binary(uint32_t handle) {
  return {.handle = handle, .flags = 0, .point = 0};
}

std::vector<Case> table(const World& w) {
  std::vector<Case> cases;
  cases.push_back({"DEV_QUERY",
                   [](World&) {
                     static drm_npu_caps caps;
                     Call call;
                     call.set(DRM_IOCTL_NPU_DEV_QUERY,
                              drm_npu_dev_query{.type = DRM_NPU_QUERY_CAPS,
                                                .size = sizeof(caps),
                                                .pointer = reinterpret_cast<uint64_t>(&caps)});
                     return call;
                   },
                   {FIELD(drm_npu_dev_query, type, enumeration(DRM_NPU_QUERY_ENGINES + 1)),
                    FIELD(drm_npu_dev_query, size, values({4097, 0x8000'0000, ~0u})),
                    FIELD(drm_npu_dev_query, pointer,
                          [](const World& world) {
                            Values wrong = all(world.pointers(), -EFAULT);
                            wrong[0].error = 0;  // NULL asks for the size
                            return wrong;
                          })},
                   {}});
  cases.push_back(
      {"BO_CREATE",
       [](World& world) {
         Call call;
         drm_npu_bo_create args = {};
         args.size = kPage;
         call.set(DRM_IOCTL_NPU_BO_CREATE, args);
         call.undo_success = [&](const void* data) {
           world.device.close_buffer(static_cast<const drm_npu_bo_create*>(data)->handle);
         };
         return call;
       },
       {FIELD(drm_npu_bo_create, size,
              [](const World&) {
                return Values{{0, -EINVAL},
                              {~0ull, -ENOMEM},
                              {kNotAPage, -ENOMEM},
                              {1ull << 63, -ENOMEM},
                              {1ull << 50, -ENOMEM}};
              }),
        FIELD(drm_npu_bo_create, placement, enumeration(2)), FIELD(drm_npu_bo_create, flags, zero),
        FIELD(drm_npu_bo_create, handle, out), FIELD(drm_npu_bo_create, pad, zero)},
       {}});
  cases.push_back(
      {"BO_MMAP_OFFSET",
       [](World& world) {
         Call call;
         drm_npu_bo_mmap_offset args = {};
         args.handle = world.buffer.handle();
         call.set(DRM_IOCTL_NPU_BO_MMAP_OFFSET, args);
         return call;
       },
       {FIELD(drm_npu_bo_mmap_offset, handle, gem), FIELD(drm_npu_bo_mmap_offset, pad, zero),
        FIELD(drm_npu_bo_mmap_offset, offset, out)},
       {}});
  cases.push_back(
      {"VM_CREATE",
       [](World& world) {
         Call call;
         call.set(DRM_IOCTL_NPU_VM_CREATE, drm_npu_vm_create{});
         call.undo_success = [&](const void* data) {
           EXPECT_EQ(world.device.destroy_vm(static_cast<const drm_npu_vm_create*>(data)->vm_id),
                     0);
         };
         return call;
       },
       {FIELD(drm_npu_vm_create, flags, zero), FIELD(drm_npu_vm_create, vm_id, out)},
       {}});
  cases.push_back({"VM_DESTROY",
                   [](World& world) {
                     Call call;
                     drm_npu_vm_destroy args = {};
                     EXPECT_EQ(world.device.create_vm(args.vm_id), 0);
                     call.set(DRM_IOCTL_NPU_VM_DESTROY, args);
                     call.undo_anyway = [&world, id = args.vm_id] { world.device.destroy_vm(id); };
                     return call;
                   },
                   {FIELD(drm_npu_vm_destroy, vm_id,
                          [](const World& world) {
                            std::vector<uint64_t> ids = world.vms();
                            ids.erase(ids.begin() + 3);  // the closed one lives again
                            return all(ids, -ENOENT);
                          }),
                    FIELD(drm_npu_vm_destroy, pad, zero)},
                   {}});

  const auto bind = [](World& world, drm_npu_bind_op op) {
    Call call;
    drm_npu_vm_bind args = {};
    args.vm_id = world.lookup.vm();
    args.flags = DRM_NPU_VM_BIND_ASYNC;
    op.va = 1ull << 32;
    op.size = 4 * kPage;
    call.set(DRM_IOCTL_NPU_VM_BIND, args);
    call.add(offsetof(drm_npu_vm_bind, ops), op);
    call.add(offsetof(drm_npu_vm_bind, waits), binary(world.wait));
    call.add(offsetof(drm_npu_vm_bind, signals), binary(world.signal));
    call.undo_success = [&](const void*) { world.device.wait_syncobj(world.signal); };
    return call;
  };
  const Kind va = values({0, kPage, (1ull << 32) + 1, (1ull << 32) + 0x800, (1ull << 48) - kPage,
                          1ull << 48, 1ull << 63, kNotAPage});
  cases.push_back(
      {"VM_BIND",
       [=](World& world) {
         drm_npu_bind_op op = {};
         op.handle = world.buffer.handle();
         return bind(world, op);
       },
       std::vector<Field>{FIELD(drm_npu_vm_bind, vm_id, vm),
                          // Without ASYNC there may be no waits.
                          FIELD(drm_npu_vm_bind, flags, bits(DRM_NPU_VM_BIND_ASYNC)),
                          FIELD(drm_npu_vm_bind, flags, values({0}))} +
           array_fields(offsetof(drm_npu_vm_bind, ops), sizeof(drm_npu_bind_op), 1024, true) +
           array_fields(offsetof(drm_npu_vm_bind, waits), sizeof(drm_npu_sync), 256, false) +
           array_fields(offsetof(drm_npu_vm_bind, signals), sizeof(drm_npu_sync), 256, false),
       {{offsetof(drm_npu_vm_bind, ops),
         {FIELD(drm_npu_bind_op, op, enumeration(2)),
          FIELD(drm_npu_bind_op, op, values({DRM_NPU_BIND_UNMAP})),  // with a handle
          FIELD(drm_npu_bind_op, flags, bits(DRM_NPU_BIND_READONLY)),
          FIELD(drm_npu_bind_op, handle, gem), FIELD(drm_npu_bind_op, pad, zero),
          FIELD(drm_npu_bind_op, bo_offset,
                values({1, 8, 0x800, kPage, 4 * kPage, 1ull << 63, kNotAPage})),
          FIELD(drm_npu_bind_op, va, va),
          FIELD(drm_npu_bind_op, size,
                values({0, 1, kPage + 8, 5 * kPage, 1ull << 48, 1ull << 63, kNotAPage, ~0ull}))}},
        {offsetof(drm_npu_vm_bind, waits), kSyncFields},
        {offsetof(drm_npu_vm_bind, signals), kSyncFields}}});
  cases.push_back(
      {"VM_BIND_unmap",
       [=](World& world) {
         drm_npu_bind_op op = {};
         op.op = DRM_NPU_BIND_UNMAP;
         return bind(world, op);
       },
       {},
       {{offsetof(drm_npu_vm_bind, ops),
         {FIELD(drm_npu_bind_op, flags, zero), FIELD(drm_npu_bind_op, handle, zero),
          FIELD(drm_npu_bind_op, pad, zero), FIELD(drm_npu_bind_op, bo_offset, bits(0, 64)),
          FIELD(drm_npu_bind_op, va, va),
          FIELD(drm_npu_bind_op, size,
                values({0, 1, kPage + 8, 1ull << 48, 1ull << 63, kNotAPage}))}}}});

  cases.push_back(
      {"QUEUE_CREATE",
       [](World& world) {
         Call call;
         drm_npu_queue_create args = {};
         args.vm_id = world.lookup.vm();
         call.set(DRM_IOCTL_NPU_QUEUE_CREATE, args);
         call.undo_success = [&](const void* data) {
           EXPECT_EQ(
               world.device.destroy_queue(static_cast<const drm_npu_queue_create*>(data)->queue_id),
               0);
         };
         return call;
       },
       {FIELD(drm_npu_queue_create, vm_id, vm),
        FIELD(drm_npu_queue_create, priority, enumeration(3)),
        FIELD(drm_npu_queue_create, cycle_limit, values({100'000'000'001, 1ull << 63, ~0ull})),
        FIELD(drm_npu_queue_create, core_mask, cores()), FIELD(drm_npu_queue_create, flags, zero),
        FIELD(drm_npu_queue_create, queue_id, out), FIELD(drm_npu_queue_create, pad, zero),
        FIELD(drm_npu_queue_create, quantum, values({10'000'001, 1ull << 63, ~0ull})),
        FIELD(drm_npu_queue_create, coalesce_count, values({1, 128, 129, ~0u})),
        FIELD(drm_npu_queue_create, coalesce_us, values({1, 10'000, 10'001, ~0u}))},
       {}});
  cases.push_back({"QUEUE_DESTROY",
                   [](World& world) {
                     Call call;
                     drm_npu_queue_destroy args = {};
                     EXPECT_EQ(world.device.create_queue(world.lookup.vm(), args.queue_id), 0);
                     call.set(DRM_IOCTL_NPU_QUEUE_DESTROY, args);
                     call.undo_anyway = [&world, id = args.queue_id] {
                       world.device.destroy_queue(id);
                     };
                     return call;
                   },
                   {FIELD(drm_npu_queue_destroy, queue_id,
                          [](const World& world) {
                            std::vector<uint64_t> ids = world.queues();
                            ids.pop_back();  // the closed one lives again
                            return all(ids, -ENOENT);
                          }),
                    FIELD(drm_npu_queue_destroy, pad, zero)},
                   {}});
  cases.push_back(
      {"QUEUE_STATE",
       [](World& world) {
         Call call;
         drm_npu_queue_state args = {};
         args.queue_id = world.lookup.queue();
         call.set(DRM_IOCTL_NPU_QUEUE_STATE, args);
         return call;
       },
       {FIELD(drm_npu_queue_state, queue_id, queue), FIELD(drm_npu_queue_state, health, out),
        FIELD(drm_npu_queue_state, jobs_submitted, out),
        FIELD(drm_npu_queue_state, jobs_completed, out), FIELD(drm_npu_queue_state, fault, out),
        FIELD(drm_npu_queue_state, first_failed, out)},
       {}});

  const drm_npu_job good = w.lookup.job();
  const uint32_t bytes = good.stream_bytes[0];
  const uint32_t most_bytes = w.target.max_stream_bytes;
  const Kind unused = values({1, 128, ~0u});
  std::vector<Field> job = {
      FIELD(drm_npu_job, stream_va, values({good.stream_va + 1, good.stream_va + 64, ~0ull})),
      FIELD(drm_npu_job, region_va, values({0, good.region_va + 1, good.region_va + 4, ~0ull})),
      FIELD(drm_npu_job, profile_va, values({kPage, ~0ull})),
      FIELD(drm_npu_job, stream_count, values({0, w.target.cores + 1, 0x8000'0000, ~0u})),
      FIELD(drm_npu_job, region_count, values({0, 65, 0x8000'0000, ~0u})),
      FIELD(drm_npu_job, core_mask, cores()),
      // PROFILE has no address here, PROFILE_COMMANDS needs PROFILE.
      FIELD(drm_npu_job, flags, bits(DRM_NPU_JOB_RESTARTABLE)),
      ELEMENT(drm_npu_job, stream_bytes, 0, values({0, bytes + 64, most_bytes + 128, ~0u})),
      ELEMENT(drm_npu_job, stream_bytes, 1, unused), ELEMENT(drm_npu_job, stream_bytes, 2, unused),
      ELEMENT(drm_npu_job, stream_bytes, 3, unused), ELEMENT(drm_npu_job, stream_bytes, 4, unused),
      ELEMENT(drm_npu_job, stream_bytes, 5, unused), ELEMENT(drm_npu_job, stream_bytes, 6, unused),
      ELEMENT(drm_npu_job, stream_bytes, 7, unused)};
  cases.push_back(
      {"SUBMIT",
       [](World& world) {
         Call call;
         drm_npu_submit args = {};
         args.queue_id = world.lookup.queue();
         call.set(DRM_IOCTL_NPU_SUBMIT, args);
         call.add(offsetof(drm_npu_submit, jobs), world.lookup.job());
         call.add(offsetof(drm_npu_submit, waits), binary(world.wait));
         call.add(offsetof(drm_npu_submit, signals), binary(world.signal));
         call.undo_success = [&](const void*) { world.device.wait_syncobj(world.signal); };
         return call;
       },
       std::vector<Field>{FIELD(drm_npu_submit, queue_id, queue),
                          FIELD(drm_npu_submit, flags, zero)} +
           array_fields(offsetof(drm_npu_submit, jobs), sizeof(drm_npu_job),
                        w.device.caps().max_jobs, true) +
           array_fields(offsetof(drm_npu_submit, waits), sizeof(drm_npu_sync), 256, false) +
           array_fields(offsetof(drm_npu_submit, signals), sizeof(drm_npu_sync), 256, false),
       {{offsetof(drm_npu_submit, jobs), job},
        {offsetof(drm_npu_submit, waits), kSyncFields},
        {offsetof(drm_npu_submit, signals), kSyncFields}}});
  return cases;
}
// Members whose value is a drm_npu_array; its members stand in their place.
#define ARRAY_MEMBER(type, member) static_assert(sizeof(type::member) == sizeof(drm_npu_array))
ARRAY_MEMBER(drm_npu_vm_bind, ops);
ARRAY_MEMBER(drm_npu_vm_bind, waits);
ARRAY_MEMBER(drm_npu_vm_bind, signals);
ARRAY_MEMBER(drm_npu_submit, jobs);
ARRAY_MEMBER(drm_npu_submit, waits);
ARRAY_MEMBER(drm_npu_submit, signals);

// ---- The test ----

class Fields : public testing::Test {
 protected:
  // Makes the call, with struct size `size`; undoes what it did.
  int make(Call& call, size_t size) {
    const unsigned long request =
        (call.request & ~(static_cast<unsigned long>(_IOC_SIZEMASK) << _IOC_SIZESHIFT)) |
        size << _IOC_SIZESHIFT;
    for (Call::Array& array : call.arrays) {
      auto* user = reinterpret_cast<drm_npu_array*>(call.args.data() + array.offset);
      if (user->array == 0) user->array = reinterpret_cast<uint64_t>(array.bytes.data());
    }
    const int ret = world_.device.ioctl(request, call.args.data());
    if (ret == 0) call.undo_success(call.args.data());
    call.undo_anyway();
    return ret;
  }
  int make(Call& call) { return make(call, call.args.size()); }

  void expect(const std::string& what, Call& call, int error) {
    const uint64_t submitted = world_.device.queue_state(world_.lookup.queue()).jobs_submitted;
    EXPECT_EQ(make(call), error) << what;
    ++tried_;
    if (error != 0) {
      EXPECT_EQ(world_.device.queue_state(world_.lookup.queue()).jobs_submitted, submitted)
          << what << ": a call that failed submitted a job";
    }
  }

  static void put(std::vector<uint8_t>& bytes, const Field& field, uint64_t value) {
    memcpy(bytes.data() + field.offset, &value, std::min<size_t>(field.size, 8));
  }

  World world_;
  int tried_ = 0;
};

TEST_F(Fields, WrongValuesOfEach) {
  // The world's own, when what it closed is gone.
  ASSERT_TRUE(wait_for_counts(world_.device, 16 + 6, 8 + 1, 1));
  const drm_npu_counters before = world_.device.counters();
  for (const Case& entry : table(world_)) {
    Call call = entry.good(world_);
    ASSERT_EQ(make(call), 0) << entry.name << ": the good call";
    for (const Field& field : entry.fields) {
      for (const Wrong& wrong : field.kind(world_)) {
        Call bad = entry.good(world_);
        const std::string what =
            entry.name + " " + field.name + " = " + std::to_string(wrong.value);
        // An array's address is filled in by make(), but not where it is the wrong one.
        if (field.name == "drm_npu_array.array" && wrong.value == 0) {
          std::erase_if(bad.arrays, [&](const Call::Array& array) {
            return array.offset + offsetof(drm_npu_array, array) == field.offset;
          });
        }
        put(bad.args, field, wrong.value);
        expect(what, bad, wrong.error);
      }
    }
    for (const Elements& elements : entry.elements) {
      for (const Field& field : elements.fields) {
        for (const Wrong& wrong : field.kind(world_)) {
          Call bad = entry.good(world_);
          for (Call::Array& array : bad.arrays)
            if (array.offset == elements.offset) put(array.bytes, field, wrong.value);
          expect(entry.name + " " + field.name + " = " + std::to_string(wrong.value), bad,
                 wrong.error);
        }
      }
    }
    // Objects go a little later than the calls that destroy them.
    EXPECT_TRUE(wait_for_counts(world_.device, before.buffers, before.vms, before.queues))
        << entry.name << " left something behind";
    call = entry.good(world_);
    EXPECT_EQ(make(call), 0) << entry.name << ": the good call, after all the bad ones";
  }
  EXPECT_EQ(world_.lookup.run_checked(77), 0);
  RecordProperty("tried", tried_);
  printf("%d wrong values\n", tried_);
  EXPECT_GT(tried_, 800);
}

// A struct that ends early stands for one with zeros; one that is longer must be
// zero beyond what the driver knows.
TEST_F(Fields, ShortAndLongStructs) {
  for (const Case& entry : table(world_)) {
    const size_t whole = entry.good(world_).args.size();
    for (size_t size = 0; size < whole; size += 4) {
      Call part = entry.good(world_), zeros = entry.good(world_);
      for (Call* call : {&part, &zeros})
        std::erase_if(call->arrays, [&](const Call::Array& array) {
          return array.offset + sizeof(drm_npu_array) > size;
        });
      std::fill(zeros.args.begin() + static_cast<ptrdiff_t>(size), zeros.args.end(), 0);
      const int expected = make(zeros);
      // What is not passed in comes not back: the undo needs it.
      if (expected == 0) continue;
      EXPECT_EQ(make(part, size), expected) << entry.name << ", " << size << " bytes";
    }
    for (const size_t more : {size_t{8}, size_t{64}, size_t{4096}}) {
      Call later = entry.good(world_);
      later.args.resize(whole + more, 0);
      EXPECT_EQ(make(later), 0) << entry.name << ", zeros behind";
      for (const size_t at : {whole, whole + more - 1}) {
        Call unknown = entry.good(world_);
        unknown.args.resize(whole + more, 0);
        unknown.args[at] = 1;
        EXPECT_EQ(make(unknown), -EINVAL) << entry.name << ", not zero at " << at;
      }
    }
    for (const Elements& elements : entry.elements) {
      for (const uint8_t tail : {0, 1}) {
        Call later = entry.good(world_);
        for (Call::Array& array : later.arrays) {
          if (array.offset != elements.offset) continue;
          auto* user = reinterpret_cast<drm_npu_array*>(later.args.data() + array.offset);
          user->stride += 8;
          array.bytes.resize(user->stride, tail);
        }
        EXPECT_EQ(make(later), tail ? -EINVAL : 0) << entry.name << ", longer elements";
      }
    }
  }
  EXPECT_EQ(world_.lookup.run_checked(78), 0);
}

}  // namespace
}  // namespace kmd
