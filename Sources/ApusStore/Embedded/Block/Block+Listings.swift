import ApusIO
import ApusModel

extension Block {
  /// Adds the values that a label has in the matching series that have a sample where `check` looks for one.
  func addValues(
    of label: [UInt8], _ matchers: [CompiledMatcher], _ check: inout BlockCheck, to result: inout Set<ByteKey>
  ) throws(StoreError) {
    let symbols = try index().symbols
    guard let name = try number(label, symbols) else { return }
    var values: Set<Int> = []
    try forEachMatch(matchers) { (group, labels, rows) throws(StoreError) in
      guard let column = labels.columns.first(where: { $0.name == name }) else { return }
      try Block.add(column, labels.series, rows, group, &check, to: &values)
    }
    values.remove(0)
    do throws(ByteReaderError) {
      try symbols.forEach(values.sorted()) { result.insert(ByteKey($0)) }
    } catch { throw corrupt("index", error) }
  }

  /// Adds the names of the labels that those series have.
  func addNames(
    _ matchers: [CompiledMatcher], _ check: inout BlockCheck, to result: inout Set<ByteKey>
  ) throws(StoreError) {
    var names: Set<Int> = []
    try forEachMatch(matchers) { (group, labels, rows) throws(StoreError) in
      for column in labels.columns where !names.contains(column.name) {
        if try Block.isThere(column, labels.series, rows, group, &check) { names.insert(column.name) }
      }
    }
    let symbols = try index().symbols
    do throws(ByteReaderError) {
      try symbols.forEach(names.sorted()) { result.insert(ByteKey($0)) }
    } catch { throw corrupt("index", error) }
  }

  private func number(_ label: [UInt8], _ symbols: SymbolTable) throws(StoreError) -> Int? {
    do throws(ByteReaderError) { return try symbols.number(label) } catch { throw corrupt("index", error) }
  }

  /// Adds the numbers of a column's values in the series with a sample.
  private static func add(
    _ column: LabelColumns.Column, _ series: Int, _ rows: [Int], _ group: Int, _ check: inout BlockCheck,
    to values: inout Set<Int>
  ) throws(StoreError) {
    if rows.count == series, check.isCertain(group) {
      values.formUnion(column.dictionary)
      return
    }
    var isOpen = column.dictionary.map { !values.contains($0) }
    var open = isOpen.count { $0 }
    for row in rows where open > 0 {
      let code = column.codes.isEmpty ? 0 : Int(column.codes[row])
      guard isOpen[code], try check.hasSample(group, row) else { continue }
      isOpen[code] = false
      open -= 1
      values.insert(column.dictionary[code])
    }
  }

  /// Whether a series with a sample has the label at all.
  private static func isThere(
    _ column: LabelColumns.Column, _ series: Int, _ rows: [Int], _ group: Int, _ check: inout BlockCheck
  ) throws(StoreError) -> Bool {
    if rows.count == series, check.isCertain(group) { return true }
    for row in rows {
      let value = column.dictionary[column.codes.isEmpty ? 0 : Int(column.codes[row])]
      if value != 0, try check.hasSample(group, row) { return true }
    }
    return false
  }
}

extension [Int] {
  /// Whether an ascending array has a number.
  func isMember(_ wanted: Int) -> Bool {
    var low = 0
    var high = count
    while low < high {
      let middle = (low + high) / 2
      if self[middle] < wanted { low = middle + 1 } else { high = middle }
    }
    return low < count && self[low] == wanted
  }
}
