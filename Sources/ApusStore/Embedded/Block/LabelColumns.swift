import ApusIO
import ApusModel

/// The label sets of a group's series as columns: for each label name the distinct values, and for each series which.
/// A scrape's series share most of their labels, so most columns are one value, or a few bits a series.
struct LabelColumns {
  struct Column {
    var name: Int
    /// Distinct values, ascending; 0 stands for an absent label.
    var dictionary: [Int]
    /// For each series an index into the dictionary; empty when there is one value only.
    var codes: [UInt32]
  }

  var columns: [Column] = []
  var series = 0

  /// Adds the columns to the groups section, with symbols renumbered by `numbers`.
  func encode(renumbered numbers: [Int], to out: inout OutputBuffer) {
    out.putVarint(UInt64(series))
    out.putVarint(UInt64(columns.count))
    for column in columns.sorted(by: { numbers[$0.name] < numbers[$1.name] }) {
      out.putVarint(UInt64(numbers[column.name]))
      let order = column.dictionary.indices.sorted { numbers[column.dictionary[$0]] < numbers[column.dictionary[$1]] }
      out.putVarint(UInt64(order.count))
      var previous = 0
      for index in order {
        let number = numbers[column.dictionary[index]]
        out.putVarint(UInt64(number - previous))
        previous = number
      }
      if order.count < 2 { continue }
      var place = [UInt64](repeating: 0, count: order.count)
      for (rank, index) in order.enumerated() { place[index] = UInt64(rank) }
      let codes = column.codes.map { place[Int($0)] }
      out.putPacked(codes, count: codes.count, width: LabelColumns.width(of: order.count))
    }
  }

  /// How many bits tell so many values apart.
  static func width(of values: Int) -> Int { values < 2 ? 0 : 64 - UInt64(values - 1).leadingZeroBitCount }

  /// Reads the columns of one group. The counts are checked against the bytes that are left.
  init(_ reader: inout ByteReader, symbols: Int) throws(ByteReaderError) {
    series = try reader.readCount(max: BlockFormat.seriesPerGroupMax)
    let count = try reader.readCount(max: reader.remaining)
    columns.reserveCapacity(count)
    for _ in 0..<count {
      let name = try reader.readCount(max: symbols - 1)
      let values = try reader.readCount(max: min(reader.remaining, series))
      var dictionary: [Int] = []
      dictionary.reserveCapacity(values)
      var previous = 0
      for _ in 0..<values {
        previous += try reader.readCount(max: symbols - 1 - previous)
        dictionary.append(previous)
      }
      let width = LabelColumns.width(of: values)
      var codes: [UInt32] = []
      if width > 0 {
        let packed = try reader.readBytes((series * width + 7) / 8)
        codes.reserveCapacity(series)
        for row in 0..<series {
          let code = ByteReader.bits(of: packed, from: row * width, width: width)
          guard code < UInt64(values) else { throw ByteReaderError(kind: .outOfBounds, offset: reader.position) }
          codes.append(UInt32(code))
        }
      }
      guard !dictionary.isEmpty else { throw ByteReaderError(kind: .outOfBounds, offset: reader.position) }
      columns.append(Column(name: name, dictionary: dictionary, codes: codes))
    }
  }

  init() {}

  /// Takes the label sets of a group apart. Strings are numbered by `symbols` in order of appearance.
  init(_ labels: [Labels], symbols: inout SymbolCollector) {
    series = labels.count
    var byName: [Int: Int] = [:]
    // For each column and value its index in the dictionary.
    var indices: [[Int: UInt32]] = []
    for (row, set) in labels.enumerated() {
      set.forEach { name, value in
        let nameNumber = symbols.number(name)
        let valueNumber = symbols.number(value)
        var column = byName[nameNumber] ?? -1
        if column < 0 {
          column = columns.count
          byName[nameNumber] = column
          columns.append(Column(name: nameNumber, dictionary: [], codes: []))
          indices.append([:])
        }
        pad(column, to: row, &indices)
        appendCode(valueNumber, to: column, &indices)
      }
    }
    for column in columns.indices {
      pad(column, to: series, &indices)
      if columns[column].dictionary.count == 1 { columns[column].codes = [] }
    }
  }

  /// Fills the rows up to `row` with the absent value.
  private mutating func pad(_ column: Int, to row: Int, _ indices: inout [[Int: UInt32]]) {
    while columns[column].codes.count < row { appendCode(0, to: column, &indices) }
  }

  private mutating func appendCode(_ value: Int, to column: Int, _ indices: inout [[Int: UInt32]]) {
    if let known = indices[column][value] {
      columns[column].codes.append(known)
      return
    }
    let code = UInt32(columns[column].dictionary.count)
    indices[column][value] = code
    columns[column].dictionary.append(value)
    columns[column].codes.append(code)
  }
}

/// Numbers strings in order of appearance while a block is written; sorted at its end.
struct SymbolCollector {
  private var numbers: [ByteKey: Int] = [ByteKey([]): 0]
  private(set) var symbols: [ArraySlice<UInt8>] = [[]]

  mutating func number(_ bytes: ArraySlice<UInt8>) -> Int {
    if let known = numbers[ByteKey(bytes)] { return known }
    let key = ByteKey(bytes).owned
    numbers[key] = symbols.count
    symbols.append(key.bytes)
    return symbols.count - 1
  }

  /// The strings in order, and for each number so far its final one.
  func sorted() -> (symbols: [[UInt8]], numbers: [Int]) {
    let order = symbols.indices.sorted { symbols[$0].lexicographicallyPrecedes(symbols[$1]) }
    var numbers = [Int](repeating: 0, count: symbols.count)
    for (rank, index) in order.enumerated() { numbers[index] = rank }
    return (order.map { Array(symbols[$0]) }, numbers)
  }
}
