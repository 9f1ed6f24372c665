/// A label's name or value as the key of a dictionary.
///
/// An array of bytes hashes itself one byte at a time; this hashes all of them at once.
struct ByteKey: Hashable, Sendable {
  let bytes: ArraySlice<UInt8>

  init(_ bytes: ArraySlice<UInt8>) { self.bytes = bytes }

  init(_ bytes: [UInt8]) { self.bytes = bytes[...] }

  /// A key with memory of its own: a slice keeps the whole label set that it is part of alive.
  var owned: ByteKey { ByteKey(Array(bytes)) }

  static func == (left: ByteKey, right: ByteKey) -> Bool { left.bytes.elementsEqual(right.bytes) }

  func hash(into hasher: inout Hasher) {
    bytes.withUnsafeBytes { hasher.combine(bytes: $0) }
  }
}
