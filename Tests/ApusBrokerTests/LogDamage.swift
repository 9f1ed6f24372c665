import ApusBroker
import ApusIO
import ApusTestKit

/// Flips bits in a log's files and knows, from what the files held before, which batches may be missing for it.
struct LogDamage {
  /// Offsets of a partition that a flip may have cost, and the segment's file that must be reported for it.
  struct Region {
    var partition: Int
    var file: String
    var segment: Int64
    var from: Int64
    /// The end of the segment or of the batch; the greatest there is for the segment that still grows.
    var to: Int64

    func overlaps(_ offsets: Range<Int64>) -> Bool { from < offsets.upperBound && offsets.lowerBound < to }
  }

  private let topic: String
  /// Flips that nobody has come upon yet.
  private(set) var open: [Region] = []
  /// Flips that were reported, and whose batches are gone.
  private(set) var settled: [Region] = []
  /// Segments' files that were reported and not settled yet.
  private var reported: Set<String> = []
  /// The file that tells unfinished writes from corruption was hit: then the log takes both for corruption, and is right.
  private var isCheckpointHit = false
  /// How many bits were flipped, by kind of file.
  private(set) var flips: [String: Int] = [:]

  init(topic: String) { self.topic = "log/topics/" + topic + "/" }

  /// Flips up to three bits of one file, chosen by chance: what lies there at rest.
  mutating func flip(_ disk: SimulatedDisk, _ random: inout Seed) {
    let files = disk.files().filter { $0.length > 0 }
    // A journal is there for moments only, between two power cuts.
    let journal = files.first { $0.path.hasSuffix("/repair") }
    guard
      let file = random.oneIn(2) ? journal ?? files.randomElement(using: &random) : files.randomElement(using: &random)
    else { return }
    let name = file.path.split(separator: "/").last ?? ""
    if name == "checkpoint" || name == "topic" { isCheckpointHit = true }
    for _ in 0...random.below(3) {
      let byte = random.below(file.length)
      // Where reading fails just now nobody would know what was hit.
      guard let bytes = try? disk.readFile(file.path) else { return }
      note(disk, file.path, bytes, Int64(byte))
      disk.flipBit(file.path, byte: byte, bit: random.below(8))
    }
    flips[String(name.split(separator: ".").last ?? ""), default: 0] += 1
  }

  private mutating func note(_ disk: SimulatedDisk, _ path: String, _ bytes: [UInt8], _ byte: Int64) {
    guard let place = place(path, suffix: "log") ?? place(path, suffix: "salvage") else { return }
    let end = segmentEnd(disk, place.partition, place.base)
    // Where something is wrong before the byte already, where batches begin behind it is anybody's guess.
    var region = Region(
      partition: place.partition, file: segmentFile(place.partition, place.base), segment: place.base, from: place.base,
      to: end)
    bytes.withUnsafeBytes { raw in
      var scanner = SegmentScanner(baseOffset: place.base)
      var position: Int64 = 0
      while position <= byte {
        guard case .batch(let header) = scanner.step(UnsafeRawBufferPointer(rebasing: raw[Int(position)...])) else {
          break
        }
        region.from = header.baseOffset
        let next = position + Int64(header.totalBytes)
        if byte < next {
          // A wrong length hides what follows; anything else costs its own batch alone, in a segment that is closed: in the
          // newest one it may look like an unfinished write.
          let isLength = byte - position >= 8 && byte - position < 12
          let isFirst = !open.contains { $0.file == region.file }
          if !isLength && isFirst && end != .max { region.to = header.nextOffset }
          return
        }
        region.from = header.nextOffset
        position = next
      }
    }
    open.append(region)
  }

  /// The partition and the base offset that a path names.
  private func place(_ path: String, suffix: String) -> (partition: Int, base: Int64)? {
    guard path.hasPrefix(topic), path.hasSuffix("." + suffix) else { return nil }
    let parts = path.dropFirst(topic.count).split(separator: "/")
    guard parts.count == 2, let partition = Int(parts[0]), let base = Int64(parts[1].prefix(20)) else { return nil }
    return (partition, base)
  }

  private func segmentFile(_ partition: Int, _ base: Int64) -> String {
    let digits = String(base)
    return topic + "\(partition)/" + String(repeating: "0", count: 20 - digits.count) + digits + ".log"
  }

  /// Where the next segment begins.
  private func segmentEnd(_ disk: SimulatedDisk, _ partition: Int, _ base: Int64) -> Int64 {
    let others = disk.files().compactMap { place($0.path, suffix: "log") }
    return others.filter { $0.partition == partition && $0.base > base }.map(\.base).min() ?? .max
  }

  /// Segments that grew when they were hit have ended by now, unless they are the newest still. Called before anything may
  /// put other files in their places.
  mutating func closeRegions(_ disk: SimulatedDisk) {
    // What a start that was cut off has put in a segment's place is not the next segment.
    for index in open.indices where open[index].to == .max && !reported.contains(open[index].file) {
      open[index].to = segmentEnd(disk, open[index].partition, open[index].segment)
    }
  }

  /// Takes note of what the log says it found. Returns what is wrong with that: corruption where no bit was flipped.
  mutating func take(_ findings: some Sequence<RecoveryReport.Finding>) -> String? {
    for finding in findings {
      switch finding {
      case .corruption(_, let file, _, _, _):
        if let problem = take(corrupt: file) { return "\(problem): \(finding)" }
      case .tornTail(_, let file, _, _, _): reported.insert(file)
      case .missing, .indexRebuilt, .metadataLost: break
      }
    }
    return nil
  }

  /// The same for a file that a reader was refused.
  mutating func take(corrupt file: String) -> String? {
    reported.insert(file)
    return isCheckpointHit || (open + settled).contains { $0.file == file } ? nil : "a false alarm"
  }

  /// A start was cut off by a power cut, and its report went with it: what it set aside is there still, what it took for an
  /// unfinished write and cut is not.
  mutating func startWasCutOff(_ disk: SimulatedDisk) {
    for region in open where region.to == .max || isSetAside(region, disk) { reported.insert(region.file) }
  }

  private func isSetAside(_ region: Region, _ disk: SimulatedDisk) -> Bool {
    let name = region.file.dropLast(3) + "corrupt"
    return disk.files().contains { $0.path.hasPrefix(name) }
  }

  /// Whether these offsets may be missing: in a place that was flipped and reported.
  func excuses(_ partition: Int, _ offsets: Range<Int64>) -> Bool {
    open.contains { $0.partition == partition && reported.contains($0.file) && $0.overlaps(offsets) }
  }

  /// Whether these offsets were lost for good before.
  func hasLost(_ partition: Int, _ offsets: Range<Int64>) -> Bool {
    settled.contains { $0.partition == partition && $0.overlaps(offsets) }
  }

  /// All that was reported has been looked at: the files are others now, and no further loss is put down to those flips.
  mutating func settle() {
    settled += open.filter { reported.contains($0.file) }
    open.removeAll { reported.contains($0.file) }
    reported = []
  }

  /// The log has been opened, and has written the checkpoint and the topic's file anew.
  mutating func logWasOpened() { isCheckpointHit = false }

  /// The topic is another one from now on.
  mutating func forget() {
    open = []
    settled = []
    reported = []
  }
}

extension LogDamage: CustomStringConvertible {
  var description: String {
    "flips not found yet: \(open)\nfiles reported: \(reported.sorted())\nflips found: \(settled)"
  }
}
