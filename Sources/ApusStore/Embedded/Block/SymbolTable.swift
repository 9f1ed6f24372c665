import ApusIO

/// The strings of a block's label sets, sorted by their bytes and front-coded; a string's place is its number.
/// Number 0 is the empty string, which stands for an absent label.
struct SymbolTable: Sendable {
  static let restartInterval = 16

  let count: Int
  private let map: MappedBytes
  /// Where the restart offsets and the entries lie in the file.
  private let restarts: Int
  private let entries: Int
  private let end: Int

  /// Reads the table's frame, checked against the section's end.
  init(_ map: MappedBytes, section: Range<Int>) throws(ByteReaderError) {
    self.map = map
    var reader = ByteReader(UnsafeRawBufferPointer(rebasing: map.bytes[section]))
    count = try reader.readCount(max: section.count)
    let restartCount = (count + SymbolTable.restartInterval - 1) / SymbolTable.restartInterval
    restarts = section.lowerBound + reader.position
    _ = try reader.readBytes(restartCount * 4)
    entries = section.lowerBound + reader.position
    end = section.upperBound
    guard count > 0 else { throw ByteReaderError(kind: .outOfBounds, offset: 0) }
    for restart in 0..<restartCount {
      let offset = restartOffset(restart)
      guard entries + offset < end else { throw ByteReaderError(kind: .outOfBounds, offset: offset) }
    }
  }

  private func restartOffset(_ restart: Int) -> Int {
    Int(UInt32(littleEndian: map.bytes.loadUnaligned(fromByteOffset: restarts + restart * 4, as: UInt32.self)))
  }

  /// The string of a number.
  func symbol(_ number: Int) throws(ByteReaderError) -> [UInt8] {
    guard number < count else { throw ByteReaderError(kind: .outOfBounds, offset: number) }
    let restart = number / SymbolTable.restartInterval
    var reader = reader(at: restart)
    var result: [UInt8] = []
    for _ in restart * SymbolTable.restartInterval...number { try SymbolTable.step(&reader, &result) }
    return result
  }

  /// Calls `body` with the strings of some numbers. Ascending ones that lie near each other are read in one go.
  func forEach(_ numbers: [Int], _ body: ([UInt8]) -> Void) throws(ByteReaderError) {
    var current: [UInt8] = []
    // The number behind the string at hand.
    var next = 0
    var reader = reader(at: 0)
    for number in numbers {
      guard number < count else { throw ByteReaderError(kind: .outOfBounds, offset: number) }
      let restart = number / SymbolTable.restartInterval * SymbolTable.restartInterval
      if next > number || next <= restart {
        reader = self.reader(at: restart / SymbolTable.restartInterval)
        current = []
        next = restart
      }
      while next <= number {
        try SymbolTable.step(&reader, &current)
        next += 1
      }
      body(current)
    }
  }

  /// The number of a string, or nil.
  func number(_ wanted: [UInt8]) throws(ByteReaderError) -> Int? {
    var low = 0
    var high = (count + SymbolTable.restartInterval - 1) / SymbolTable.restartInterval
    // The last restart whose first string is not above the wanted one.
    while high - low > 1 {
      let middle = (low + high) / 2
      var reader = reader(at: middle)
      var first: [UInt8] = []
      try SymbolTable.step(&reader, &first)
      if wanted.lexicographicallyPrecedes(first) { high = middle } else { low = middle }
    }
    var reader = reader(at: low)
    var current: [UInt8] = []
    let first = low * SymbolTable.restartInterval
    for number in first..<min(count, first + SymbolTable.restartInterval) {
      try SymbolTable.step(&reader, &current)
      if current == wanted { return number }
    }
    return nil
  }

  private func reader(at restart: Int) -> ByteReader {
    ByteReader(UnsafeRawBufferPointer(rebasing: map.bytes[entries + restartOffset(restart)..<end]))
  }

  private static func step(_ reader: inout ByteReader, _ current: inout [UInt8]) throws(ByteReaderError) {
    let shared = try reader.readCount(max: current.count)
    let suffix = try reader.readLengthPrefixed(max: reader.remaining)
    current.removeSubrange(shared...)
    current += suffix
  }

  /// Encodes sorted strings, the first of them empty.
  static func encode(_ sorted: [[UInt8]], to out: inout OutputBuffer) {
    precondition(sorted.first == [], "the first symbol is the empty one")
    var entries = OutputBuffer()
    var offsets: [UInt32] = []
    var previous: [UInt8] = []
    for (number, symbol) in sorted.enumerated() {
      var shared = 0
      if number % restartInterval == 0 {
        offsets.append(UInt32(entries.count))
      } else {
        let limit = min(previous.count, symbol.count)
        while shared < limit && previous[shared] == symbol[shared] { shared += 1 }
      }
      entries.putVarint(UInt64(shared))
      entries.putVarint(UInt64(symbol.count - shared))
      symbol[shared...].withUnsafeBytes { entries.put($0) }
      previous = symbol
    }
    out.putVarint(UInt64(sorted.count))
    for offset in offsets { out.put(word: offset) }
    out.put(entries.bytes)
  }
}
