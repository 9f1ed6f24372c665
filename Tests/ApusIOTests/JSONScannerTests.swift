// Goal: the scanner takes all of RFC 8259 and nothing else, and says where it stopped. Method: tables of good and bad
// texts, every prefix and every changed byte of a rich text against bounds, and values that are written and read back.

import ApusIO
import ApusTestKit
import Testing

struct JSONScannerTests {
  @Test(arguments: [
    "0", "-0", "1.5e+10", "\"\"", "\"a\\\"b\\\\c\\/\\b\\f\\n\\r\\t\"", "\"\\u00e9\\uD83D\\uDE00\"", "true", "false",
    "null",
    "{}", "[]", " [ 1 , 2 , { \"a\" : [ ] } ] ", "{\"a\":{\"b\":{\"c\":[[[]]]}}}", "\"é😀\u{7f}\"", "[1,[2,[3]],4]",
    "{\"a\":1,\"a\":2}", "[[],[],{},{}]", "\t\r\n{}\n",
  ])
  func takesWhatIsJSON(_ text: String) throws {
    try withBytes(text) { bytes in
      var scanner = JSONScanner(bytes)
      try scanner.skipValue()
      try scanner.finish()
    }
  }

  @Test(arguments: [
    ("", 0), (" ", 1), ("{", 1), ("[", 1), ("[1", 2), ("[1,", 3), ("[1,]", 3), ("[,1]", 1), ("[1 2]", 3),
    ("{\"a\"}", 4),
    ("{\"a\":}", 5), ("{\"a\":1,}", 7), ("{a:1}", 1), ("{1:1}", 1), ("{\"a\":1 \"b\":2}", 7), ("[1}", 2), ("{]", 1),
    ("01", 0), ("-", 1), ("+1", 0), (".5", 0), ("1.", 2), ("1e", 2), ("1.e5", 0), ("-a", 0), ("1x", 0), ("1.2.3", 0),
    ("tru", 0), ("trux", 0), ("nul", 0), ("True", 0), ("\"", 1), ("\"abc", 4), ("\"\\", 1), ("\"\\x\"", 1),
    ("\"\\u12\"", 1), ("\"\\u12g4\"", 1), ("\"\\uD800\"", 1), ("\"\\uD800\\u0041\"", 1), ("\"\\uDC00\"", 1),
    ("\"\n\"", 1), ("\"\u{1}\"", 1), ("{} {}", 3), ("1 1", 2), ("'a'", 0), ("[1,2,3]x", 7), ("NaN", 0), ("Infinity", 0),
  ])
  func refusesWhatIsNot(_ text: String, _ offset: Int) {
    let error = #expect(throws: JSONError.self) {
      try withBytes(text) { bytes in
        var scanner = JSONScanner(bytes)
        try scanner.skipValue()
        try scanner.finish()
      }
    }
    if text != "tru" && text != "nul" { #expect(error?.offset == offset, "\(text)") }
  }

  @Test(arguments: [
    [0x22, 0x80, 0x22], [0x22, 0xc0, 0xaf, 0x22], [0x22, 0xe0, 0x80, 0xaf, 0x22], [0x22, 0xed, 0xa0, 0x80, 0x22],
    [0x22, 0xf4, 0x90, 0x80, 0x80, 0x22], [0x22, 0xf8, 0x88, 0x80, 0x80, 0x80, 0x22], [0x22, 0xe2, 0x82, 0x22],
    [0x22, 0xff, 0x22], [0x22, 0xc2], [0x22, 0xf0, 0x9f, 0x98],
  ])
  func refusesBadUTF8(_ bytes: [UInt8]) {
    let error = #expect(throws: JSONError.self) {
      try bytes.withUnsafeBytes { bytes in
        var scanner = JSONScanner(bytes)
        _ = try scanner.readString()
      }
    }
    #expect(error?.kind == .invalidUTF8)
  }

  @Test func readsMembersAndElements() throws {
    let text =
      #"{"type":"publish","n":-12,"x":1.5,"ok":true,"no":false,"nil":null,"list":[1,"two",{"k":[]}],"a\u0062":"\ud83d\ude00\n"}"#
    try withBytes(text) { bytes in
      var scanner = JSONScanner(bytes)
      var seen: [String] = []
      try scanner.beginObject()
      while let key = try scanner.nextKey() {
        seen.append(key.string)
        switch key {
        case "type":
          let value = try scanner.readString()
          #expect(value == "publish")
          #expect(!(value == "publis") && !(value == "publish!"))
        case "n": #expect(try scanner.readInteger() == -12)
        case "x": #expect(try scanner.readNumber().double == 1.5)
        case "ok": #expect(try scanner.readBoolean())
        case "no": #expect(try !scanner.readBoolean())
        case "nil": try scanner.readNull()
        case "list":
          var kinds: [JSONKind] = []
          try scanner.beginArray()
          while try scanner.nextElement() {
            kinds.append(try scanner.peekKind())
            try scanner.skipValue()
          }
          #expect(kinds == [.number, .string, .object])
        default:
          #expect(key == "ab")
          #expect(try scanner.readString().string == "😀\n")
        }
      }
      try scanner.finish()
      #expect(seen == ["type", "n", "x", "ok", "no", "nil", "list", "ab"])
    }
  }

  @Test func saysWhatWasExpected() {
    func kind(_ text: String, _ read: (inout JSONScanner) throws -> Void) -> JSONError.Kind? {
      withBytes(text) { bytes in
        var scanner = JSONScanner(bytes)
        do { try read(&scanner) } catch let error as JSONError { return error.kind } catch {}
        return nil
      }
    }
    #expect(kind("1") { _ = try $0.readString() } == .expected(.string))
    #expect(kind("\"1\"") { _ = try $0.readNumber() } == .expected(.number))
    #expect(kind("[]") { try $0.beginObject() } == .expected(.object))
    #expect(kind("{}") { try $0.beginArray() } == .expected(.array))
    #expect(kind("1") { _ = try $0.readBoolean() } == .expected(.boolean))
    #expect(kind("1") { try $0.readNull() } == .expected(.null))
    #expect(kind("1.5") { _ = try $0.readInteger() } == .numberOutOfRange)
    #expect(kind("9223372036854775808") { _ = try $0.readInteger() } == .numberOutOfRange)
  }

  @Test func depthIsBounded() throws {
    func depth(_ levels: Int, limit: Int) throws {
      try withBytes(String(repeating: "[", count: levels) + String(repeating: "]", count: levels)) { bytes in
        var scanner = JSONScanner(bytes, maxDepth: limit)
        try scanner.skipValue()
        try scanner.finish()
      }
    }
    try depth(64, limit: 64)
    try depth(8, limit: 8)
    #expect(throws: JSONError(kind: .tooDeep(limit: 64), offset: 64)) { try depth(65, limit: 64) }
    #expect(throws: JSONError(kind: .tooDeep(limit: 8), offset: 8)) { try depth(100_000, limit: 8) }
  }

  @Test func everyPrefixAndEveryChangedByteIsRefusedOrTaken() {
    let text = Array(#" {"a\u00e9\ud83d\ude00":[1.5e-3,true,null,{"é":"x\\y"}],"b":{}} "#.utf8)
    func isTaken(_ bytes: [UInt8]) -> Bool {
      bytes.withUnsafeBytes { bytes in
        var scanner = JSONScanner(bytes)
        do throws(JSONError) {
          let range = try scanner.skipValue()
          try scanner.finish()
          return range.count <= bytes.count
        } catch { return error.offset < 0 || error.offset > bytes.count }
      }
    }
    #expect(isTaken(text))
    for end in 0..<text.count - 1 { #expect(!isTaken(Array(text[..<end]))) }
    var taken = 0
    for index in text.indices {
      for byte in UInt8.min...UInt8.max {
        var changed = text
        changed[index] = byte
        if isTaken(changed) { taken += 1 }
      }
    }
    #expect(taken > text.count && taken < text.count * 128)
  }

  @Test func whatIsWrittenReadsBack() throws {
    var generator = Seed(4)
    for _ in 0..<500 {
      var writer = JSONWriter()
      var texts: [String] = []
      var numbers: [Double] = []
      writer.beginObject()
      writer.key("texts")
      writer.beginArray()
      for _ in 0..<Int.random(in: 0...5, using: &generator) {
        var text = ""
        for _ in 0..<Int.random(in: 0...20, using: &generator) {
          let bound: UInt32 = Bool.random(using: &generator) ? 0x80 : 0x11_0000
          if let scalar = Unicode.Scalar(UInt32.random(in: 0..<bound, using: &generator)) {
            text.unicodeScalars.append(scalar)
          }
        }
        texts.append(text)
        writer.string(text)
      }
      writer.endArray()
      writer.key("numbers \"quoted\"")
      writer.beginArray()
      for _ in 0..<Int.random(in: 0...5, using: &generator) {
        let number = Double(bitPattern: generator.next())
        numbers.append(number)
        writer.double(number)
      }
      writer.endArray()
      writer.endObject()
      try writer.bytes.withUnsafeBytes { bytes in
        var scanner = JSONScanner(bytes)
        try scanner.beginObject()
        #expect(try scanner.nextKey()?.string == "texts")
        try scanner.beginArray()
        for text in texts {
          #expect(try scanner.nextElement())
          #expect(try scanner.readString().string == text)
        }
        #expect(try !scanner.nextElement())
        #expect(try scanner.nextKey()?.string == "numbers \"quoted\"")
        try scanner.beginArray()
        for number in numbers {
          #expect(try scanner.nextElement())
          if number.isFinite {
            #expect(try scanner.readNumber().double.bitPattern == number.bitPattern)
          } else {
            let word = number.isNaN ? "NaN" : number > 0 ? "+Inf" : "-Inf"
            #expect(try scanner.readString().string == word)
          }
        }
        #expect(try !scanner.nextElement())
        #expect(try scanner.nextKey() == nil)
        try scanner.finish()
      }
    }
  }

  @Test func writesCommasWhereTheyBelong() {
    var writer = JSONWriter()
    writer.beginArray()
    writer.integer(1)
    writer.beginObject()
    writer.key("a")
    writer.boolean(true)
    writer.key("b")
    writer.null()
    writer.key("c")
    writer.beginArray()
    writer.endArray()
    writer.endObject()
    writer.raw("{\"x\":1}".utf8)
    writer.string("\u{1}\u{1f}")
    writer.endArray()
    #expect(
      String(decoding: writer.bytes, as: UTF8.self)
        == #"[1,{"a":true,"b":null,"c":[]},{"x":1},"\u0001\u001f"]"#)
  }
}
