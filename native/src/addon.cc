// Entry of the addon: what JavaScript cannot do itself. System calls, mapping, pinning, waiting; no packet passes here.
#include "linecard.h"

#include <climits>
#include <cstring>

namespace linecard {

void ThrowErrno(Napi::Env env, const char* syscall, int error) {
  Napi::Error e = Napi::Error::New(env, std::strerror(error));
  e.Set("syscall", Napi::String::New(env, syscall));
  e.Set("errno", Napi::Number::New(env, -error));
  e.ThrowAsJavaScriptException();
}

void ThrowRange(Napi::Env env, const char* message) {
  Napi::RangeError::New(env, message).ThrowAsJavaScriptException();
}

std::optional<uint64_t> Unsigned(const Napi::CallbackInfo& info, size_t index) {
  constexpr double kMax = 9007199254740992.0;  // 2^53: above, a double is not an integer of its own
  if (info.Length() > index && info[index].IsNumber()) {
    const double value = info[index].As<Napi::Number>().DoubleValue();
    if (value >= 0 && value <= kMax && value == static_cast<double>(static_cast<uint64_t>(value))) {
      return static_cast<uint64_t>(value);
    }
  }
  ThrowRange(info.Env(), "expected a non-negative integer");
  return std::nullopt;
}

std::optional<int> Fd(const Napi::CallbackInfo& info, size_t index) {
  const auto value = Unsigned(info, index);
  if (!value) return std::nullopt;
  if (*value <= INT_MAX) return static_cast<int>(*value);
  ThrowRange(info.Env(), "expected a file descriptor");
  return std::nullopt;
}

std::optional<Bytes> BytesOf(Napi::Env env, napi_value value) {
  void* data = nullptr;
  size_t length = 0;
  napi_typedarray_type type;
  bool typed = false;
  if (napi_is_typedarray(env, value, &typed) != napi_ok || !typed ||
      napi_get_typedarray_info(env, value, &type, &length, &data, nullptr, nullptr) != napi_ok || type != napi_uint8_array) {
    ThrowRange(env, "expected a Uint8Array");
    return std::nullopt;
  }
  return Bytes{static_cast<uint8_t*>(data), length};
}

std::optional<Bytes> BytesArgument(const Napi::CallbackInfo& info, size_t index) {
  if (info.Length() > index) return BytesOf(info.Env(), info[index]);
  ThrowRange(info.Env(), "expected a Uint8Array");
  return std::nullopt;
}

std::optional<Range> PageRange(const Napi::CallbackInfo& info) {
  constexpr uint64_t kPage = 4096;
  // The data pointer by plain Node-API: works for shared memory on every Node from 20 on, in every thread.
  void* data = nullptr;
  size_t size = 0;
  napi_typedarray_type type = napi_int8_array;
  napi_value buffer = nullptr;
  bool ordinary = true;
  // Shared memory only: an ordinary ArrayBuffer may lie in the heap, or move, and is never an arena.
  if (info.Length() < 1 || napi_get_typedarray_info(info.Env(), info[0], &type, &size, &data, &buffer, nullptr) != napi_ok ||
      type != napi_uint8_array || napi_is_arraybuffer(info.Env(), buffer, &ordinary) != napi_ok || ordinary) {
    ThrowRange(info.Env(), "expected the arena as a Uint8Array");
    return std::nullopt;
  }
  const auto offset = Unsigned(info, 1);
  if (!offset) return std::nullopt;
  const auto length = Unsigned(info, 2);
  if (!length) return std::nullopt;
  if (*length == 0 || *offset % kPage != 0 || *length % kPage != 0 || *offset > size || *length > size - *offset ||
      reinterpret_cast<uintptr_t>(data) % kPage != 0) {
    ThrowRange(info.Env(), "range is not whole pages inside the arena");
    return std::nullopt;
  }
  return Range{static_cast<uint8_t*>(data) + *offset, static_cast<size_t>(*length)};
}

static Napi::Object Init(Napi::Env env, Napi::Object exports) {
  env.SetInstanceData(new PerThread());
  AddMapping(env, exports);
  AddFiles(env, exports);
  AddWait(env, exports);
  AddThread(env, exports);
  AddSocket(env, exports);
  AddUnixSocket(env, exports);
  AddPeer(env, exports);
  return exports;
}

}  // namespace linecard

using linecard::Init;
NODE_API_MODULE(linecard, Init)
