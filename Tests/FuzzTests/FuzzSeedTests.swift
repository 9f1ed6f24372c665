// Goal: the fuzz targets do not rot between the long runs: each takes its seeds, what is left of them when they are cut,
// and thousands of small changes to them. Method: the bodies that libFuzzer drives, driven by seeded changes instead.

import ApusTestKit
import Foundation
import FuzzTargets
import Testing

struct FuzzSeedTests {
  @Test(arguments: FuzzTargets.all.map(\.name))
  func eachTargetTakesItsSeeds(_ name: String) throws {
    let target = try #require(FuzzTargets.all.first { $0.name == name })
    let seeds = try seeds(of: name)
    #expect(!seeds.isEmpty, "Fuzz/Seeds/\(name) is empty")
    for seed in seeds {
      seed.withUnsafeBytes { target.run($0) }
      for count in stride(from: 0, to: seed.count, by: 1 + seed.count / 40) {
        Array(seed[..<count]).withUnsafeBytes { target.run($0) }
      }
    }
  }

  @Test(arguments: FuzzTargets.all.map(\.name))
  func eachTargetTakesChangedSeeds(_ name: String) throws {
    let target = try #require(FuzzTargets.all.first { $0.name == name })
    let seeds = try seeds(of: name)
    var random = Seed(1)
    for _ in 0..<300 {
      var bytes = try #require(seeds.randomElement(using: &random))
      for _ in 0...random.below(4) { change(&bytes, seeds, &random) }
      Array(bytes.prefix(target.bytesMax)).withUnsafeBytes { target.run($0) }
    }
  }

  @Test func namesAreTakenOnce() {
    #expect(Set(FuzzTargets.all.map(\.name)).count == FuzzTargets.all.count)
  }

  private func change(_ bytes: inout [UInt8], _ seeds: [[UInt8]], _ random: inout Seed) {
    let place = random.below(bytes.count + 1)
    switch random.below(6) {
    case 0 where place < bytes.count: bytes[place] ^= 1 << UInt8(random.below(8))
    case 1 where place < bytes.count: bytes[place] = UInt8(random.below(256))
    case 2 where place < bytes.count: bytes.removeSubrange(place..<min(bytes.count, place + 1 + random.below(8)))
    case 3: bytes.insert(UInt8(random.below(256)), at: place)
    case 4:
      // A stretch of the same input, again: what repeats is what decoders remember.
      let end = min(bytes.count, place + random.below(80))
      bytes.insert(contentsOf: Array(bytes[place..<end]), at: random.below(bytes.count + 1))
    default:
      let other = seeds[random.below(seeds.count)]
      let start = random.below(other.count + 1)
      bytes.insert(contentsOf: other[start..<min(other.count, start + random.below(40))], at: place)
    }
  }

  private func seeds(of target: String) throws -> [[UInt8]] {
    let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().appending(path: "Fuzz/Seeds/\(target)")
    return try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
      .sorted { $0.path < $1.path }.map { [UInt8](try Data(contentsOf: $0)) }
  }
}
