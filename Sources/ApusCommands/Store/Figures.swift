import Foundation

/// Numbers as people read them.
enum Figures {
  /// `6.1 MiB`
  static func bytes(_ count: Int64) -> String {
    var value = Double(count)
    for unit in ["bytes", "KiB", "MiB", "GiB"] {
      if value < 1024 { return unit == "bytes" ? "\(count) bytes" : String(format: "%.1f %@", value, unit) }
      value /= 1024
    }
    return String(format: "%.1f TiB", value)
  }

  /// `0.25 s`
  static func seconds(_ value: Double) -> String { String(format: "%.2f s", value) }

  /// `0.891`, or `-` when there is nothing to divide by.
  static func ratio(_ value: Int64, _ count: Int) -> String {
    count > 0 ? String(format: "%.3f", Double(value) / Double(count)) : "-"
  }

  /// `12.3 %`
  static func share(_ part: Int64, of whole: Int64) -> String {
    whole > 0 ? String(format: "%.1f %%", 100 * Double(part) / Double(whole)) : "-"
  }

  /// Text in a column, filled up on the right, or on the left for numbers.
  static func column(_ text: String, _ width: Int, right: Bool = false) -> String {
    let blanks = String(repeating: " ", count: max(0, width - text.count))
    return right ? blanks + text : text + blanks
  }
}
