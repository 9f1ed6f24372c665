import ApusIO

/// An attribute's value (`AnyValue`) as the text of a label.
enum OTLPValue {
  /// Strings as they are, numbers in decimal, bytes in base 64, lists and maps in JSON with sorted keys; empty when the
  /// value is not set.
  static func text(_ message: ProtobufReader) throws(FormatError) -> [UInt8] {
    var result: [UInt8] = []
    try append(message, isNested: false, to: &result)
    return result
  }

  private static func append(
    _ message: ProtobufReader, isNested: Bool, to result: inout [UInt8]
  ) throws(FormatError) {
    var value = message
    // Of a `oneof` that was written twice the last one counts.
    let start = result.count
    var isSet = false
    while let field = try value.next() {
      guard (1...7).contains(field.number) else {
        try value.skip(field)
        continue
      }
      result.removeSubrange(start...)
      isSet = true
      switch field.number {
      case 1: appendText(try value.data(field), isNested, to: &result)
      case 2: result.append(contentsOf: (try value.varint(field) != 0 ? "true" : "false").utf8)
      case 3: NumberText.append(Int64(bitPattern: try value.varint(field)), to: &result)
      case 4: append(try value.double(field), isNested, to: &result)
      case 5: try appendList(try value.message(field), to: &result)
      case 6: try appendMap(try value.message(field), to: &result)
      default:
        if isNested { result.append(UInt8(ascii: "\"")) }
        appendBase64(try value.data(field), to: &result)
        if isNested { result.append(UInt8(ascii: "\"")) }
      }
    }
    if !isSet, isNested { result.append(contentsOf: "null".utf8) }
  }

  private static func append(_ number: Double, _ isNested: Bool, to result: inout [UInt8]) {
    guard number.isFinite else {
      if isNested { result.append(UInt8(ascii: "\"")) }
      result.append(contentsOf: PlainDecimal.text(number))
      if isNested { result.append(UInt8(ascii: "\"")) }
      return
    }
    let magnitude = number.magnitude
    if magnitude != 0, magnitude < 1e-6 || magnitude >= 1e21 {
      NumberText.append(number, to: &result)
    } else {
      result.append(contentsOf: PlainDecimal.text(number))
    }
  }

  private static func appendList(_ message: ProtobufReader, to result: inout [UInt8]) throws(FormatError) {
    var list = message
    var isFirst = true
    result.append(UInt8(ascii: "["))
    while let field = try list.next() {
      guard field.number == 1 else {
        try list.skip(field)
        continue
      }
      if !isFirst { result.append(UInt8(ascii: ",")) }
      isFirst = false
      try append(try list.message(field), isNested: true, to: &result)
    }
    result.append(UInt8(ascii: "]"))
  }

  private static func appendMap(_ message: ProtobufReader, to result: inout [UInt8]) throws(FormatError) {
    var map = message
    var pairs: [(key: [UInt8], value: [UInt8])] = []
    while let field = try map.next() {
      guard field.number == 1 else {
        try map.skip(field)
        continue
      }
      var pair = try map.message(field)
      var key: [UInt8] = []
      var value = Array("null".utf8)
      while let part = try pair.next() {
        switch part.number {
        case 1: key = Array(try pair.data(part))
        case 2:
          value.removeAll()
          try append(try pair.message(part), isNested: true, to: &value)
        default: try pair.skip(part)
        }
      }
      pairs.append((key, value))
    }
    pairs.sort { $0.key.lexicographicallyPrecedes($1.key) }
    result.append(UInt8(ascii: "{"))
    for (index, pair) in pairs.enumerated() {
      if index > 0 { result.append(UInt8(ascii: ",")) }
      pair.key.withUnsafeBytes { appendText($0, true, to: &result) }
      result.append(UInt8(ascii: ":"))
      result.append(contentsOf: pair.value)
    }
    result.append(UInt8(ascii: "}"))
  }

  /// A string, within JSON quoted and escaped.
  private static func appendText(_ text: UnsafeRawBufferPointer, _ isNested: Bool, to result: inout [UInt8]) {
    guard isNested else { return result.append(contentsOf: text) }
    result.append(UInt8(ascii: "\""))
    for byte in text {
      switch byte {
      case UInt8(ascii: "\""), UInt8(ascii: "\\"): result.append(contentsOf: [UInt8(ascii: "\\"), byte])
      case 0x0a: result.append(contentsOf: "\\n".utf8)
      case 0x0d: result.append(contentsOf: "\\r".utf8)
      case 0x09: result.append(contentsOf: "\\t".utf8)
      case 0..<0x20:
        result.append(contentsOf: byte < 0x10 ? "\\u000".utf8 : "\\u00".utf8)
        result.append(contentsOf: String(byte, radix: 16).utf8)
      default: result.append(byte)
      }
    }
    result.append(UInt8(ascii: "\""))
  }

  private static func appendBase64(_ bytes: UnsafeRawBufferPointer, to result: inout [UInt8]) {
    let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
    var index = 0
    while index < bytes.count {
      let count = min(3, bytes.count - index)
      var group = 0
      for place in 0..<3 { group = group << 8 | (place < count ? Int(bytes[index + place]) : 0) }
      for place in 0..<4 {
        result.append(place <= count ? alphabet[group >> (18 - 6 * place) & 63] : UInt8(ascii: "="))
      }
      index += 3
    }
  }
}
