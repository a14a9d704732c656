{
  "targets": [
    {
      "target_name": "linecard",
      "sources": [
        "native/src/addon.cc",
        "native/src/mapping.cc",
        "native/src/files.cc",
        "native/src/wait.cc",
        "native/src/thread.cc",
        "native/src/socket.cc",
        "native/src/unix-socket.cc",
        "native/src/peer.cc"
      ],
      "include_dirs": ["<!(node -p \"require('node-addon-api').include_dir\")"],
      "defines": ["NAPI_VERSION=9", "NODE_ADDON_API_DISABLE_CPP_EXCEPTIONS", "_GNU_SOURCE", "_FORTIFY_SOURCE=3"],
      "cflags_cc": ["-std=c++20", "-O2", "-Wall", "-Wextra", "-Wno-unused-parameter", "-fno-exceptions", "-fno-rtti", "-fstack-protector-strong", "-fvisibility=hidden"]
    }
  ]
}
