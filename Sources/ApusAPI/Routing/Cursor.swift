import ApusIO
import ApusService

/// Where a list goes on: opaque to clients, base64url over a version, the kind of list, a checksum of the query that it
/// belongs to, the last key, and a checksum over all.
///
/// It holds a key and not a number of rows, so pages stay whole while data arrives.
enum Cursor {
  /// The kinds of lists; the numbers are in cursors that clients hold, so they keep their meaning.
  enum Kind: UInt8 {
    case gpus = 1
    case nodes = 2
    case telemetry = 3
    case latest = 4
  }

  private static let version: UInt8 = 1
  /// Longer than any cursor that is given out.
  static let lengthMax = 8192

  /// The parameter that carries a cursor. Whether it fits the request is seen when its list is read.
  static let parameter = Parameter<String>(
    "cursor", "Where the list goes on: from the `Link` header of the page before.",
    schema: .text(pattern: "^[A-Za-z0-9_-]+$", maxLength: lengthMax)
  ) { text throws(ParameterRefusal) in
    guard !text.isEmpty, text.utf8.count <= lengthMax, Base64URL.decode(text) != nil else {
      throw ParameterRefusal("is not a cursor of this server")
    }
    return text
  }

  /// Names the query of a request: all that decides which rows a list has, in which order.
  static func queryChecksum(_ request: RouteRequest) -> UInt32 {
    let unbound: Set<String> = ["cursor", "limit", "format"]
    let pairs = request.query.pairs.filter { !unbound.contains($0.name) }
      .sorted { ($0.name, $0.value) < ($1.name, $1.value) }
    var writer = ByteWriter()
    writer.writeLengthPrefixed(request.path)
    for pair in pairs {
      writer.writeLengthPrefixed(pair.name)
      writer.writeLengthPrefixed(pair.value)
    }
    return CRC32C.checksum(writer.bytes)
  }

  static func encode(_ kind: Kind, for request: RouteRequest, key: [UInt8]) -> String {
    var writer = ByteWriter(reserving: key.count + 10)
    writer.write(version)
    writer.write(kind.rawValue)
    writer.write(queryChecksum(request))
    writer.write(key)
    writer.write(CRC32C.checksum(writer.bytes))
    return Base64URL.encode(writer.bytes)
  }

  /// The key in a request's cursor; nil when the request has none.
  static func key(_ kind: Kind, of request: RouteRequest) throws(Problem) -> [UInt8]? {
    guard let text = request.arguments[parameter] else { return nil }
    let invalid = Problem.badParameter(
      "cursor", "cursor is not one that this server gave out; take it from the Link header, or begin without it")
    guard let bytes = Base64URL.decode(text), bytes.count >= 10 else { throw invalid }
    let checked = bytes.withUnsafeBytes { raw -> (version: UInt8, kind: UInt8, query: UInt32, isWhole: Bool) in
      let body = UnsafeRawBufferPointer(rebasing: raw[..<(raw.count - 4)])
      let stored = UInt32(littleEndian: raw.loadUnaligned(fromByteOffset: raw.count - 4, as: UInt32.self))
      let query = UInt32(littleEndian: raw.loadUnaligned(fromByteOffset: 2, as: UInt32.self))
      return (raw[0], raw[1], query, stored == CRC32C.checksum(body))
    }
    guard checked.isWhole, checked.version == version, checked.kind == kind.rawValue else { throw invalid }
    guard checked.query == queryChecksum(request) else {
      throw .badParameter(
        "cursor", "cursor belongs to a query with other parameters; repeat those, or begin without a cursor")
    }
    return Array(bytes[6..<(bytes.count - 4)])
  }
}

/// Base64 with the alphabet for URLs (RFC 4648, section 5), without padding.
enum Base64URL {
  private static let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8)

  static func encode(_ bytes: [UInt8]) -> String {
    var result: [UInt8] = []
    result.reserveCapacity(bytes.count * 4 / 3 + 3)
    var position = 0
    while position < bytes.count {
      let count = min(3, bytes.count - position)
      var word: UInt32 = 0
      for index in 0..<3 { word = word << 8 | (index < count ? UInt32(bytes[position + index]) : 0) }
      for index in 0...count { result.append(alphabet[Int(word >> UInt32(18 - 6 * index) & 63)]) }
      position += 3
    }
    return String(decoding: result, as: UTF8.self)
  }

  /// The bytes, or nil for text that `encode` would not have written.
  static func decode(_ text: String) -> [UInt8]? {
    var bytes: [UInt8] = []
    var word: UInt32 = 0
    var bits: UInt32 = 0
    for character in text.utf8 {
      let digit: UInt8
      switch character {
      case UInt8(ascii: "A")...UInt8(ascii: "Z"): digit = character - UInt8(ascii: "A")
      case UInt8(ascii: "a")...UInt8(ascii: "z"): digit = character - UInt8(ascii: "a") + 26
      case UInt8(ascii: "0")...UInt8(ascii: "9"): digit = character - UInt8(ascii: "0") + 52
      case UInt8(ascii: "-"): digit = 62
      case UInt8(ascii: "_"): digit = 63
      default: return nil
      }
      word = word << 6 | UInt32(digit)
      bits += 6
      if bits >= 8 {
        bits -= 8
        bytes.append(UInt8(truncatingIfNeeded: word >> bits))
        word &= 1 << bits - 1
      }
    }
    // What is left must be padding: fewer than six bits, all zero.
    return bits < 6 && word == 0 ? bytes : nil
  }
}
