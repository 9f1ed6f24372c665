import ApusFormats

extension FuzzTarget {
  /// What is read must be the same when it is written anew, every name and value in quotes.
  static let selector = FuzzTarget("selector", bytesMax: 1024) { bytes in
    let text = String(decoding: bytes, as: UTF8.self)
    let selector: Selector
    do throws(SelectorError) { selector = try Selector(parsing: text) } catch {
      precondition(error.position <= text.utf8.count, "the place of an error lies outside")
      return
    }
    let written =
      "{"
      + selector.conditions.map { quoted($0.label) + $0.operation.rawValue + quoted($0.value) }
      .joined(separator: ",") + "}"
    do throws(SelectorError) {
      let again = try Selector(parsing: written)
      precondition(
        again.conditions.map { [$0.label, $0.operation.rawValue, $0.value] }
          == selector.conditions.map { [$0.label, $0.operation.rawValue, $0.value] }, "written anew it is another")
    } catch { fatalError("written anew it is none: \(error): \(written)") }
    _ = try? selector.matchers()
  }

  private static func quoted(_ text: String) -> String {
    var result = "\""
    for byte in text.utf8 {
      if byte >= 0x20, byte < 0x7f, byte != UInt8(ascii: "\""), byte != UInt8(ascii: "\\") {
        result.unicodeScalars.append(Unicode.Scalar(byte))
      } else {
        let digits = String(byte, radix: 16)
        result += "\\x" + (digits.count < 2 ? "0" : "") + digits
      }
    }
    return result + "\""
  }
}
