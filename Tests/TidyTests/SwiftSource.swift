/// A Swift file taken apart by line into code, comments and string literals, so that a check for a call does not stumble
/// over a sentence that names it.
///
/// A small lexer, not a parser: it knows line and nested block comments, string literals of every form (also raw and
/// multi-line ones) and interpolations, whose content counts as code. Columns are kept: what belongs elsewhere is a space.
struct SwiftSource {
  /// From the repository's root, with `/`.
  var path: String
  /// As written.
  var lines: [String]
  /// The same lines with comments and the insides of string literals blanked.
  var code: [String]
  /// The text of the comments of each line.
  var comments: [String]
  /// The insides of the string literals of each line.
  var strings: [String]

  /// The module or test target: the second part of the path (`Sources/ApusIO/Disk.swift` → `ApusIO`).
  var module: String {
    let parts = path.split(separator: "/")
    return parts.count > 1 ? String(parts[1]) : ""
  }

  var fileName: String { String(path.split(separator: "/").last ?? "") }

  init(path: String, text: String) {
    self.path = path
    var lexer = Lexer(bytes: Array(text.utf8))
    lexer.run()
    lines = Lexer.split(lexer.bytes)
    code = Lexer.split(lexer.code)
    comments = Lexer.split(lexer.comments)
    strings = Lexer.split(lexer.strings)
  }

  /// Whether a comment from `reach` lines above to `reach` lines below the line (counted from 0) has the word.
  func hasComment(_ word: String, around line: Int, reach: Int) -> Bool {
    let first = max(0, line - reach)
    let last = min(comments.count - 1, line + reach)
    return comments[first...last].contains { $0.contains(word) }
  }

  /// Whether the comment that ends right above the line (doc comments, passing over attributes) is a doc comment.
  func hasDocComment(above line: Int) -> Bool {
    var index = line - 1
    while index >= 0 {
      let text = lines[index].drop { $0 == " " }
      if text.hasPrefix("///") || text.hasSuffix("*/") { return true }
      // Attributes may stand between a declaration and its comment.
      guard text.hasPrefix("@") else { return false }
      index -= 1
    }
    return false
  }
}

private struct Lexer {
  let bytes: [UInt8]
  var code: [UInt8]
  var comments: [UInt8]
  var strings: [UInt8]
  private var position = 0

  init(bytes: [UInt8]) {
    self.bytes = bytes
    let blank = bytes.map { $0 == 0x0a ? 0x0a : UInt8(ascii: " ") }
    code = blank
    comments = blank
    strings = blank
  }

  static func split(_ bytes: [UInt8]) -> [String] {
    bytes.split(separator: 0x0a, omittingEmptySubsequences: false).map { String(decoding: $0, as: UTF8.self) }
  }

  mutating func run() { code(untilClosingParenthesis: false) }

  private func byte(_ offset: Int = 0) -> UInt8 {
    position + offset < bytes.count ? bytes[position + offset] : 0
  }

  private func starts(with text: StaticString) -> Bool {
    text.withUTF8Buffer { wanted in
      position + wanted.count <= bytes.count && bytes[position..<position + wanted.count].elementsEqual(wanted)
    }
  }

  private mutating func code(untilClosingParenthesis nested: Bool) {
    var depth = 0
    while position < bytes.count {
      if starts(with: "//") {
        while position < bytes.count, bytes[position] != 0x0a { keep(\.comments) }
      } else if starts(with: "/*") {
        blockComment()
      } else if byte() == UInt8(ascii: "\"") || isRawString() {
        string()
      } else {
        if nested {
          if byte() == UInt8(ascii: "(") { depth += 1 }
          if byte() == UInt8(ascii: ")") {
            if depth == 0 { return }
            depth -= 1
          }
        }
        keep(\.code)
      }
    }
  }

  private mutating func keep(_ place: WritableKeyPath<Lexer, [UInt8]>) {
    self[keyPath: place][position] = bytes[position]
    position += 1
  }

  private func isRawString() -> Bool {
    guard byte() == UInt8(ascii: "#") else { return false }
    var offset = 0
    while byte(offset) == UInt8(ascii: "#") { offset += 1 }
    return byte(offset) == UInt8(ascii: "\"")
  }

  private mutating func blockComment() {
    var depth = 0
    while position < bytes.count {
      if starts(with: "/*") {
        depth += 1
        keep(\.comments)
      } else if starts(with: "*/") {
        depth -= 1
        keep(\.comments)
        keep(\.comments)
        if depth == 0 { return }
        continue
      }
      if position < bytes.count { keep(\.comments) }
    }
  }

  private mutating func string() {
    var hashes = 0
    while byte() == UInt8(ascii: "#") {
      hashes += 1
      keep(\.code)
    }
    let isMultiLine = starts(with: "\"\"\"")
    for _ in 0..<(isMultiLine ? 3 : 1) { keep(\.code) }
    while position < bytes.count {
      if byte() == UInt8(ascii: "\\"), hasHashes(hashes, after: 1) {
        let escaped = byte(1 + hashes)
        for _ in 0..<(1 + hashes) { keep(\.strings) }
        if escaped == UInt8(ascii: "(") {
          keep(\.code)
          code(untilClosingParenthesis: true)
          if position < bytes.count { keep(\.code) }
        } else if position < bytes.count {
          keep(\.strings)
        }
        continue
      }
      if closes(isMultiLine: isMultiLine, hashes: hashes) {
        for _ in 0..<((isMultiLine ? 3 : 1) + hashes) { keep(\.code) }
        return
      }
      // An unfinished literal ends with its line; the compiler says so.
      if !isMultiLine, byte() == 0x0a { return }
      keep(\.strings)
    }
  }

  private func hasHashes(_ count: Int, after offset: Int) -> Bool {
    (0..<count).allSatisfy { byte(offset + $0) == UInt8(ascii: "#") }
  }

  private func closes(isMultiLine: Bool, hashes: Int) -> Bool {
    let quotes = isMultiLine ? 3 : 1
    return (0..<quotes).allSatisfy { byte($0) == UInt8(ascii: "\"") } && hasHashes(hashes, after: quotes)
  }
}
