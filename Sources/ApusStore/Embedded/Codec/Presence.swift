import ApusIO

/// Which rows of a chunk have a sample: lengths of runs, or a bitmap where that is shorter.
enum Presence {
  private static let runs: UInt8 = 0
  private static let bitmap: UInt8 = 1

  /// Invariant (unsafe memory): `presence` has a byte for each of the rows.
  static func encode(_ presence: UnsafePointer<UInt8>, rows: Int, to out: inout OutputBuffer) {
    let start = out.count
    out.put(runs)
    var row = 0
    var wanted = true
    while row < rows {
      var end = row
      while end < rows && (presence[end] != 0) == wanted { end += 1 }
      out.putVarint(UInt64(end - row))
      row = end
      wanted.toggle()
      if out.count - start > rows / 8 + 1 { break }
    }
    if row == rows && out.count - start <= rows / 8 + 2 { return }
    out.truncate(to: start)
    out.put(bitmap)
    var byte: UInt8 = 0
    for row in 0..<rows {
      if presence[row] != 0 { byte |= 1 << UInt8(row & 7) }
      if row & 7 == 7 || row == rows - 1 {
        out.put(byte)
        byte = 0
      }
    }
  }

  /// Returns how many rows are present.
  ///
  /// Invariant (unsafe memory): `presence` has room for a byte for each of the rows.
  static func decode(
    _ reader: inout ByteReader, rows: Int, into presence: UnsafeMutablePointer<UInt8>
  ) throws(ByteReaderError) -> Int {
    let form = try reader.read(UInt8.self)
    var count = 0
    switch form {
    case runs:
      var row = 0
      var value: UInt8 = 1
      while row < rows {
        let length = try reader.readCount(max: rows - row)
        // Only the first run may be empty: anything else would not end.
        guard length > 0 || row == 0 && value == 1 else {
          throw ByteReaderError(kind: .outOfBounds, offset: reader.position)
        }
        (presence + row).update(repeating: value, count: length)
        if value == 1 { count += length }
        row += length
        value = 1 - value
      }
    case bitmap:
      let bytes = try reader.readBytes((rows + 7) / 8)
      for row in 0..<rows {
        presence[row] = (bytes[row >> 3] >> UInt8(row & 7)) & 1
        count += Int(presence[row])
      }
    default: throw ByteReaderError(kind: .outOfBounds, offset: reader.position - 1)
    }
    return count
  }
}
