// swift-tools-version: 6.2
import PackageDescription

// The rooms of the house and the arrows between them are described in ARCHITECTURE.md; the tidy
// test fails when a target imports what it may not.

/// Settings of every target: warnings are errors, and existentials say so.
let common: [SwiftSetting] = [
  .enableUpcomingFeature("ExistentialAny"),
  .treatAllWarnings(as: .error),
]

/// Settings of the rooms with per-sample loops. Dynamic exclusivity checks cost 20 ns a call on
/// class members there (docs/decisions/0002-build-settings.md); debug builds and tests keep them.
let engine: [SwiftSetting] =
  common + [
    .unsafeFlags(["-enforce-exclusivity=unchecked", "-cross-module-optimization"], .when(configuration: .release))
  ]

let nio: [Target.Dependency] = [
  .product(name: "NIOCore", package: "swift-nio"),
  .product(name: "NIOPosix", package: "swift-nio"),
]
let log: Target.Dependency = .product(name: "Logging", package: "swift-log")

let package = Package(
  name: "apus",
  platforms: [.macOS(.v15)],
  products: [.executable(name: "apus", targets: ["apus"])],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
    .package(url: "https://github.com/apple/swift-nio-extras", from: "1.35.2"),
    .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
    .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1"),
    .package(url: "https://github.com/swift-server/async-http-client", from: "1.37.0"),
    .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
  ],
  targets: [
    // Layer 0
    .target(name: "CKernels"),
    .target(name: "CSwagger"),
    .systemLibrary(name: "CZstd", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"]), .brew(["zstd"])]),
    .systemLibrary(name: "CLZ4", pkgConfig: "liblz4", providers: [.apt(["liblz4-dev"]), .brew(["lz4"])]),
    .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
    .target(name: "ApusModel", swiftSettings: engine),
    .target(name: "ApusIO", dependencies: ["CKernels", "CZstd", "CLZ4", "CZlib"], swiftSettings: engine),
    // Layer 1
    .target(name: "ApusFormats", dependencies: ["ApusModel", "ApusIO", "CKernels"], swiftSettings: engine),
    .target(name: "ApusBroker", dependencies: ["ApusIO", log], swiftSettings: engine),
    .target(
      name: "ApusService",
      dependencies: [
        "ApusIO", log, "Yams",
        .product(name: "Hummingbird", package: "hummingbird"),
        .product(name: "HummingbirdCore", package: "hummingbird"),
        .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
        .product(name: "NIOHTTPCompression", package: "swift-nio-extras"),
      ] + nio,
      swiftSettings: common
    ),
    // Layer 2
    .target(name: "ApusStore", dependencies: ["ApusModel", "ApusIO", log], swiftSettings: engine),
    // Layer 3
    .target(
      name: "ApusPipeline",
      dependencies: ["ApusModel", "ApusIO", "ApusFormats", "ApusBroker", "ApusStore", "ApusService", log],
      swiftSettings: engine
    ),
    .target(
      name: "ApusDoors",
      dependencies: [
        "ApusIO", "ApusBroker", "ApusService", log,
        .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
      ] + nio,
      swiftSettings: engine
    ),
    .target(
      name: "ApusAdapters",
      dependencies: [
        "ApusModel", "ApusIO", "ApusFormats", "ApusBroker", "ApusStore", log,
        .product(name: "AsyncHTTPClient", package: "async-http-client"),
      ],
      swiftSettings: common
    ),
    // Layer 5
    .target(
      name: "ApusAPI",
      dependencies: [
        "ApusModel", "ApusIO", "ApusFormats", "ApusBroker", "ApusStore", "ApusService", "ApusPipeline", "CSwagger", log,
        .product(name: "Hummingbird", package: "hummingbird"),
      ],
      swiftSettings: common
    ),
    // Layers 6 and 7
    .target(
      name: "ApusCommands",
      dependencies: [
        "ApusModel", "ApusIO", "ApusFormats", "ApusBroker", "ApusStore", "ApusService", "ApusPipeline", "ApusDoors",
        "ApusAdapters", "ApusAPI", "Yams", log,
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
      ],
      swiftSettings: common
    ),
    .executableTarget(name: "apus", dependencies: ["ApusCommands"], path: "Sources/apus", swiftSettings: common),
    // Tests
    .target(
      name: "ApusTestKit",
      dependencies: ["ApusModel", "ApusIO", "ApusBroker", "ApusStore", "ApusFormats"],
      path: "Tests/ApusTestKit",
      swiftSettings: common
    ),
    .testTarget(name: "ApusModelTests", dependencies: ["ApusModel"], swiftSettings: common),
    .testTarget(name: "ApusIOTests", dependencies: ["ApusIO", "ApusTestKit"], swiftSettings: common),
    .testTarget(
      name: "ApusFormatsTests", dependencies: ["ApusFormats", "ApusTestKit"], resources: [.copy("Fixtures")],
      swiftSettings: common),
    .testTarget(name: "ApusBrokerTests", dependencies: ["ApusBroker", "ApusTestKit"], swiftSettings: common),
    .testTarget(
      name: "ApusStoreTests", dependencies: ["ApusStore", "ApusTestKit"], exclude: ["Fixtures"], swiftSettings: common),
    .testTarget(name: "ApusServiceTests", dependencies: ["ApusService", "ApusTestKit"], swiftSettings: common),
    .testTarget(name: "ApusPipelineTests", dependencies: ["ApusPipeline", "ApusTestKit"], swiftSettings: common),
    .testTarget(name: "ApusDoorsTests", dependencies: ["ApusDoors", "ApusTestKit"], swiftSettings: common),
    .testTarget(
      name: "ApusAPITests",
      dependencies: [
        "ApusAPI", "ApusAdapters", "ApusTestKit", .product(name: "HummingbirdTesting", package: "hummingbird"),
      ],
      swiftSettings: common
    ),
    .testTarget(
      name: "ApusCommandsTests",
      dependencies: ["ApusCommands", .product(name: "ArgumentParser", package: "swift-argument-parser")],
      swiftSettings: common
    ),
    .testTarget(
      name: "SimulationTests",
      dependencies: ["ApusModel", "ApusIO", "ApusFormats", "ApusBroker", "ApusStore", "ApusPipeline", "ApusTestKit"],
      swiftSettings: common
    ),
    .target(
      name: "FuzzTargets",
      dependencies: [
        "ApusModel", "ApusIO", "ApusFormats", "ApusBroker", "ApusDoors",
        .product(name: "NIOCore", package: "swift-nio"),
      ],
      path: "Fuzz/Targets",
      swiftSettings: common
    ),
    .testTarget(name: "FuzzTests", dependencies: ["FuzzTargets", "ApusTestKit"], swiftSettings: common),
    .testTarget(name: "TidyTests", swiftSettings: common),
  ],
  swiftLanguageModes: [.v6]
)

// `make bench`: the benchmarks see `package` declarations, and ordinary builds do not see the benchmarks.
if Context.environment["APUS_BENCHMARKS"] != nil {
  package.products += [
    .executable(name: "apus-bench", targets: ["ApusBenchmarks"]),
    .executable(name: "apus-fleet", targets: ["FleetTool"]),
  ]
  package.targets += [
    .target(name: "BenchmarkFleet", dependencies: ["ApusIO"], path: "Benchmarks/Fleet", swiftSettings: engine),
    .executableTarget(
      name: "FleetTool", dependencies: ["BenchmarkFleet"], path: "Benchmarks/FleetTool", swiftSettings: common),
    .executableTarget(
      name: "ApusBenchmarks",
      dependencies: [
        "ApusModel", "ApusIO", "ApusFormats", "ApusBroker", "ApusStore", "ApusPipeline", "ApusService",
        "BenchmarkFleet",
        log,
      ],
      path: "Benchmarks/Apus",
      swiftSettings: engine
    ),
  ]
}

// `make docs`: the reference of the sources from their comments.
if Context.environment["APUS_DOCS"] != nil {
  package.dependencies.append(.package(url: "https://github.com/swiftlang/swift-docc-plugin", from: "1.5.0"))
}

// `make tidy`: the repository's checks read the sources and import none of them, so alone they build in seconds.
if Context.environment["APUS_TIDY"] != nil {
  package.products = []
  package.dependencies = []
  package.targets.removeAll { $0.name != "TidyTests" }
}

// `make simulate`: the seeded schedules of the log and the store run in release, thousands of them, without the
// networking packages.
if Context.environment["APUS_SIMULATIONS"] != nil {
  let kept: Set = [
    "CKernels", "CZstd", "CLZ4", "CZlib", "ApusModel", "ApusIO", "ApusFormats", "ApusBroker", "ApusStore",
    "ApusTestKit", "ApusBrokerTests", "ApusStoreTests",
  ]
  package.products = []
  package.dependencies = [.package(url: "https://github.com/apple/swift-log", from: "1.16.2")]
  package.targets.removeAll { !kept.contains($0.name) }
}

// `make fuzz`: the decoders and nothing else, watched by libFuzzer and the address sanitizer. Of the doors only what
// reads bytes is built, so that no server is.
if Context.environment["APUS_FUZZ"] != nil {
  let rooms: Set = [
    "CKernels", "CZstd", "CLZ4", "CZlib", "ApusModel", "ApusIO", "ApusFormats", "ApusBroker", "ApusDoors",
    "FuzzTargets",
  ]
  package.products = [.executable(name: "apus-fuzz", targets: ["ApusFuzz"])]
  package.dependencies = [
    .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
  ]
  package.targets.removeAll { !rooms.contains($0.name) }
  let watched = common + [.unsafeFlags(["-sanitize=fuzzer,address", "-assert-config", "Debug", "-g"])]
  for target in package.targets where target.type == .regular && target.name != "CKernels" {
    target.swiftSettings = watched
    guard target.name == "ApusDoors" else { continue }
    target.dependencies = ["ApusIO", "ApusBroker", .product(name: "NIOCore", package: "swift-nio")]
    target.sources = [
      "DoorError.swift", "TCP/Base64.swift", "TCP/FrameDecoder.swift", "TCP/Request.swift",
      "TCP/RequestDecoder.swift",
    ]
  }
  package.targets.append(
    .executableTarget(
      name: "ApusFuzz", dependencies: ["FuzzTargets"], path: "Fuzz/Driver", swiftSettings: watched,
      linkerSettings: [.unsafeFlags(["-sanitize=fuzzer,address"])]
    ))
}
