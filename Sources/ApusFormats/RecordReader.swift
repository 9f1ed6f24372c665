import ApusIO

/// `ByteReader` with the errors of the columnar record.
///
/// Invariant (unsafe memory): the caller keeps `bytes` alive for as long as the reader is used.
struct RecordReader {
  private var reader: ByteReader

  init(_ bytes: UnsafeRawBufferPointer, at position: Int) {
    reader = ByteReader(bytes)
    reader.position = position
  }

  var bytes: UnsafeRawBufferPointer { reader.bytes }
  var position: Int { reader.position }
  var remaining: Int { reader.remaining }

  /// Read here and not by the reader of `ApusIO`: across modules the compiler does not specialise it, and a record has
  /// seven of these fields.
  @inline(__always) mutating func integer<Integer: FixedWidthInteger>(
    _ type: Integer.Type = Integer.self
  ) throws(FormatError) -> Integer {
    let size = MemoryLayout<Integer>.size
    guard size <= reader.remaining else { throw .record(.truncated, offset: reader.position) }
    var value: Integer = 0
    withUnsafeMutableBytes(of: &value) {
      $0.copyMemory(from: UnsafeRawBufferPointer(rebasing: reader.bytes[reader.position..<reader.position + size]))
    }
    reader.position += size
    return Integer(littleEndian: value)
  }

  @inline(__always) mutating func varint() throws(FormatError) -> UInt64 {
    do throws(ByteReaderError) { return try reader.readVarint() } catch { throw FormatError(error) }
  }

  @inline(__always) mutating func zigzag() throws(FormatError) -> Int64 {
    do throws(ByteReaderError) { return try reader.readZigzag() } catch { throw FormatError(error) }
  }

  /// A varint that counts something, at most `max`.
  mutating func count(max: Int) throws(FormatError) -> Int {
    do throws(ByteReaderError) { return try reader.readCount(max: Swift.max(0, max)) } catch {
      throw FormatError(error)
    }
  }

  mutating func slice(_ count: Int) throws(FormatError) -> UnsafeRawBufferPointer {
    do throws(ByteReaderError) { return try reader.readBytes(count) } catch { throw FormatError(error) }
  }

  mutating func string(max: Int) throws(FormatError) -> String {
    do throws(ByteReaderError) { return try reader.readString(max: max) } catch { throw FormatError(error) }
  }

  /// A column of `count` elements of 8 bytes; both architectures we build for are little-endian.
  mutating func column<Element: BitwiseCopyable>(_ count: Int, of type: Element.Type) throws(FormatError) -> [Element] {
    let source = try slice(8 * count)
    return [Element](unsafeUninitializedCapacity: count) { buffer, filled in
      UnsafeMutableRawBufferPointer(buffer).copyMemory(from: source)
      filled = count
    }
  }

  func checkEnd() throws(FormatError) {
    guard remaining == 0 else { throw .record(.trailingBytes(remaining), offset: position) }
  }
}

extension FormatError {
  /// The fault of a columnar record, from its reader.
  fileprivate init(_ error: ByteReaderError) {
    let problem: RecordProblem =
      switch error.kind {
      case .truncated: .truncated
      case .outOfBounds: .outOfBounds
      case .notUTF8: .notUTF8
      }
    self = .record(problem, offset: error.offset)
  }
}
