/// What the first row of a CSV says: which column holds which field.
package struct CSVHeader: Hashable, Sendable {
  package let columnCount: Int
  /// The fields that have no column.
  package let missing: [TelemetryField]
  /// The columns that are no field; they are passed over.
  package let extra: [String]
  /// By field, the index of its column or -1.
  private let columns: [Int]

  /// Names are matched whatever their case, with blanks around them and a byte order mark before the first let pass.
  init(_ names: [String], needsTimestamp: Bool) throws(CSVProblem) {
    var columns = [Int](repeating: -1, count: TelemetryField.allCases.count)
    var extra: [String] = []
    for (index, name) in names.enumerated() {
      let plain = CSVHeader.plain(name, isFirst: index == 0)
      guard let field = TelemetryField.allCases.first(where: { $0.name.lowercased() == plain.lowercased() }) else {
        extra.append(plain)
        continue
      }
      guard columns[field.rawValue] < 0 else { throw .duplicateColumn(field) }
      columns[field.rawValue] = index
    }
    for field in [TelemetryField.gpuID, .value] where columns[field.rawValue] < 0 { throw .missingColumn(field) }
    if needsTimestamp, columns[TelemetryField.timestamp.rawValue] < 0 { throw .missingColumn(.timestamp) }
    if columns[TelemetryField.metricName.rawValue] < 0, columns[TelemetryField.labelsRaw.rawValue] < 0 {
      throw .missingColumn(.metricName)
    }
    self.columns = columns
    self.extra = extra
    columnCount = names.count
    missing = TelemetryField.allCases.filter { columns[$0.rawValue] < 0 }
  }

  /// The index of a field's column, or nil when it has none.
  package func column(of field: TelemetryField) -> Int? {
    let column = columns[field.rawValue]
    return column < 0 ? nil : column
  }

  /// The column without which there is no header.
  var valueColumn: Int { columns[TelemetryField.value.rawValue] }

  private static func plain(_ name: String, isFirst: Bool) -> String {
    var scalars = name.unicodeScalars[...]
    if isFirst, scalars.first == "\u{feff}" { scalars.removeFirst() }
    while let scalar = scalars.first, scalar == " " || scalar == "\t" { scalars.removeFirst() }
    while let scalar = scalars.last, scalar == " " || scalar == "\t" { scalars.removeLast() }
    return String(scalars)
  }
}
