import ApusIO
import ApusModel

extension JSONWriter {
  mutating func member(_ name: StaticString, _ text: String) {
    key(name)
    string(text)
  }

  /// A text, or null.
  mutating func member(_ name: StaticString, orNull text: String?) {
    key(name)
    if let text { string(text) } else { null() }
  }

  mutating func member(_ name: StaticString, _ number: Int) {
    key(name)
    integer(number)
  }

  /// An instant as RFC 3339 in UTC, or null.
  mutating func member(_ name: StaticString, _ number: Double) {
    key(name)
    double(number)
  }

  mutating func member(_ name: StaticString, time milliseconds: Int64?) {
    key(name)
    if let milliseconds { string(RFC3339.format(milliseconds)) } else { null() }
  }

  /// A JSON array, an element a row.
  static func array<Row>(of rows: [Row], _ write: (Row, inout JSONWriter) -> Void) -> [UInt8] {
    var writer = JSONWriter(reserving: 256 + rows.count * 512)
    writer.beginArray()
    for row in rows { write(row, &writer) }
    writer.endArray()
    return writer.bytes
  }
}
