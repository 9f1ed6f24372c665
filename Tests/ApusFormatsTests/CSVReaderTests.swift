// Goal: the CSV of telemetry is read as RFC 4180 has it, in pieces of any size, and a broken row costs only itself.
// Method: seeded files whose rows are known beforehand, fed whole, byte by byte and in random pieces; tables of broken
// rows; the real export where it is at hand.

import ApusFormats
import ApusModel
import ApusTestKit
import Foundation
import Testing

struct CSVReaderTests {
  static let header =
    "timestamp,metric_name,gpu_id,device,uuid,modelName,Hostname,container,pod,namespace,value,labels_raw"

  @Test func readsARow() throws {
    let (reader, rows) = read(
      #"""
      \#(Self.header)
      "2025-07-18T20:42:34Z","DCGM_FI_DEV_GPU_UTIL","0","nvidia0","GPU-1","NVIDIA H100 80GB HBM3","node-a","","","","97.5","DCGM_FI_DRIVER_VERSION=""535.129.03"",UUID=""other"",__name__=""other"",gpu=""7"",instance=""node-a:9400"""

      """#)
    #expect(rows.errorCount == 0, "\(rows.errors)")
    #expect(rows.timestamps == [1_752_871_354_000])
    #expect(rows.values == [97.5])
    #expect(
      reader.labels(of: rows.series[0])
        == series(
          "DCGM_FI_DEV_GPU_UTIL",
          [
            "gpu": "0", "device": "nvidia0", "UUID": "GPU-1", "modelName": "NVIDIA H100 80GB HBM3",
            "Hostname": "node-a",
            "DCGM_FI_DRIVER_VERSION": "535.129.03", "instance": "node-a:9400",
          ]))
    #expect(reader.hostName(reader.host(of: rows.series[0])) == "node-a")
    #expect(reader.header?.missing == [] && reader.header?.extra == [])
  }

  @Test func columnsComeInAnyOrder() throws {
    let (reader, rows) = read(
      "\u{feff}value,extra, Metric_Name ,gpu_id,timestamp\r\n1,x,m,0,1970-01-01T00:00:01Z\r\n2,\"y\",m,0,2\r\n")
    #expect(rows.errorCount == 0, "\(rows.errors)")
    #expect(rows.values == [1, 2] && rows.timestamps == [1000, 2000])
    #expect(reader.labels(of: rows.series[0]) == series("m", ["gpu": "0"]))
    #expect(reader.header?.extra == ["extra"])
    #expect(reader.header?.missing.contains(.labelsRaw) == true)
  }

  @Test(arguments: [
    ("", FormatError.csv(.emptyFile, line: 1)), ("a,b\n", .csv(.missingColumn(.gpuID), line: 1)),
    ("gpu_id\n", .csv(.missingColumn(.value), line: 1)), ("gpu_id,value\n", .csv(.missingColumn(.timestamp), line: 1)),
    ("gpu_id,value,timestamp\n", .csv(.missingColumn(.metricName), line: 1)),
    ("gpu_id,value,value\n", .csv(.duplicateColumn(.value), line: 1)),
    ("\"gpu_id\"x,value\n", .csv(.textAfterQuote, line: 1)),
    (String(repeating: ",", count: 300) + "\n", .csv(.tooManyColumns(limit: 256), line: 1)),
    ("\"gpu_id", .csv(.unterminatedQuote, line: 1)),
  ])
  func refusesAFileWithoutAUsableHeader(_ text: String, _ expected: FormatError) {
    let (reader, rows) = read(text + "1,2,3\n")
    if text.isEmpty || text == "\"gpu_id" {
      let (alone, _) = read(text)
      #expect(alone.failure == expected)
    } else {
      #expect(reader.failure == expected)
      #expect(rows.errors == [expected] && rows.count == 0)
    }
  }

  @Test(arguments: [
    ("2025-07-18T20:42:34Z,m,,1", FormatError.telemetry(.missingGPU, position: 3)),
    ("2025-07-18T20:42:34Z,,0,1", .telemetry(.missingMetricName, position: 3)),
    ("2025-07-18T20:42:34Z,m,0,", .telemetry(.missingValue, position: 3)),
    ("2025-07-18T20:42:34Z,m,0,x", .telemetry(.invalidValue, position: 3)),
    ("yesterday,m,0,1", .telemetry(.invalidTimestamp, position: 3)),
    (",m,0,1", .telemetry(.invalidTimestamp, position: 3)),
    ("2025-07-18T20:42:34Z,m,0", .telemetry(.fieldCount(found: 3, expected: 4), position: 3)),
    ("2025-07-18T20:42:34Z,m,0,1,", .telemetry(.fieldCount(found: 5, expected: 4), position: 3)),
    ("2025-07-18T20:42:34Z,\"m\"x,0,1", .csv(.textAfterQuote, line: 3)),
    ("2025-07-18T20:42:34Z,\"m,0,1", .csv(.unterminatedQuote, line: 3)),
  ])
  func rejectsARowAndKeepsTheRest(_ row: String, _ expected: FormatError) {
    let (_, rows) = read(
      "timestamp,metric_name,gpu_id,value\n2025-07-18T20:42:34Z,m,0,1\n\(row)\n2025-07-18T20:42:34Z,m,0,3\n")
    #expect(rows.errors == [expected])
    #expect(rows.values == [1, 3])
  }

  @Test func takesTheSpecialValuesAndTimes() {
    let (_, rows) = read(
      "timestamp,metric_name,gpu_id,value\n1752871354.25,m,0,NaN\n1752871354250,m,0,+Inf\n0,m,0,-Inf\n"
        + "2025-07-18T22:42:34+02:00,m,0,1e3\n")
    #expect(rows.errorCount == 0)
    #expect(rows.timestamps == [1_752_871_354_250, 1_752_871_354_250, 0, 1_752_871_354_000])
    #expect(rows.values[0].isNaN && rows.values[1...].elementsEqual([.infinity, -.infinity, 1000]))
  }

  @Test func timesMayBeThoseOfReading() {
    var configuration = CSVReader.Configuration()
    configuration.timestamps = .now
    for header in ["timestamp,metric_name,gpu_id,value", "metric_name,gpu_id,value"] {
      let prefix = header.hasPrefix("t") ? "never," : ""
      var reader = CSVReader(configuration)
      var rows = CSVRows()
      reader.feed(Array("\(header)\n\(prefix)m,0,1\n\(prefix)m,0,2\n\(prefix)m,0,3\n".utf8), now: noon, into: &rows)
      #expect(rows.errorCount == 0, "\(rows.errors)")
      #expect(rows.values == [1, 2, 3])
      #expect(rows.timestamps == [Int64](repeating: noon.milliseconds, count: 3))
    }
  }

  @Test func aRowTooLongIsGivenUpAndTheNextIsRead() {
    var configuration = CSVReader.Configuration()
    configuration.rowBytesMax = 100
    let long = String(repeating: "x", count: 300)
    let text =
      "timestamp,metric_name,gpu_id,value\n0,m,0,1\n0,\(long),0,2\n0,m,0,3\n0,\"m,0,4\n0,m,0,5\n0,m,0,6\n"
      + String(repeating: "0,m,0,7\n", count: 30)
    for pieces in [Int.max, 1, 7, 64] {
      let (reader, rows) = read(text, configuration, piece: pieces)
      #expect(
        rows.errors == [
          .csv(.rowTooLong(limit: 100), line: 3), .csv(.rowTooLong(limit: 100), line: 5),
        ], "pieces of \(pieces)")
      #expect(rows.values == [1, 3, 5, 6] + [Double](repeating: 7, count: 30), "pieces of \(pieces)")
      #expect(reader.offset == Int64(text.utf8.count))
      #expect(reader.line == 38)
    }
  }

  @Test func offsetsSayWhereToGoOn() {
    let text = "timestamp,metric_name,gpu_id,value\n" + (0..<50).map { "\($0),m,\($0 % 3),\($0)\n" }.joined()
    let bytes = Array(text.utf8)
    let (first, rows) = read(text)
    #expect(rows.ends.last == Int64(bytes.count) && first.line == 52)
    let place = Int(rows.ends[19])
    var reader = CSVReader()
    var rest = CSVRows()
    reader.feed(Array(bytes[..<35]), now: noon, into: &rest)
    reader.resume(at: Int64(place), line: 22)
    reader.feed(Array(bytes[place...]), now: noon, into: &rest)
    #expect(rest.values == Array(rows.values[20...]))
    #expect(rest.ends == Array(rows.ends[20...]))
    #expect(reader.line == 52)
  }

  @Test(arguments: 0..<40)
  func anyCutIntoPiecesGivesTheSame(_ number: UInt64) throws {
    var seed = Seed(number)
    let file = RandomCSV(&seed)
    let whole = read(file.text)
    try check(whole, file)
    try check(read(file.text, piece: 1), file)
    for _ in 0..<3 { try check(read(file.text, piece: 1 + seed.below(700)), file) }
  }

  @Test func whatIsWrittenReadsBack() throws {
    var seed = Seed(99)
    for _ in 0..<50 {
      var labels: [Labels] = []
      for index in 0..<8 {
        let odd = ["plain", "with,comma", "with \"quotes\"", "two\nlines", "back\\slash", "é😀"][seed.below(6)]
        labels.append(
          series("m", ["gpu": "\(index)", "UUID": "GPU-\(index)", "Hostname": odd, "pod": odd, "other": odd]))
      }
      let values = (0..<8).map { _ in Double(bitPattern: seed.next()) }
      let scrape = Scrape(set: SeriesSet(series: labels), timestamp: Timestamp(milliseconds: 1234), values: values)
      var bytes = CSVWriter.header
      CSVWriter.append(scrape, to: &bytes)
      let (reader, rows) = read(String(decoding: bytes, as: UTF8.self))
      #expect(rows.errorCount == 0, "\(rows.errors)")
      for index in 0..<8 {
        #expect(reader.labels(of: rows.series[index]) == labels[index])
        #expect(rows.timestamps[index] == 1234)
        let isSame = rows.values[index].bitPattern == values[index].bitPattern
        #expect(isSame || rows.values[index].isNaN && values[index].isNaN)
      }
    }
  }

  @Test func readsAnExportAsItWasMade() throws {
    let url = try #require(Bundle.module.url(forResource: "export", withExtension: "csv", subdirectory: "Fixtures"))
    let (reader, rows) = read(try String(contentsOf: url, encoding: .utf8))
    #expect(rows.errorCount == 0)
    #expect(rows.count == 24 && reader.seriesCount == 12)
    let hosts = Set(rows.series.map { reader.hostName(reader.host(of: $0)) })
    #expect(hosts == ["node-1", "node-2"])
  }

  private func check(_ read: (CSVReader, CSVRows), _ file: RandomCSV) throws {
    let (reader, rows) = read
    try #require(rows.count == file.rows.count)
    #expect(rows.errorCount == file.errorCount)
    for index in 0..<min(rows.count, file.rows.count) {
      let expected = file.rows[index]
      let labels = reader.labels(of: rows.series[index])
      #expect(labels == expected.labels)
      #expect(rows.timestamps[index] == expected.timestamp)
      #expect(rows.values[index].bitPattern == expected.bits)
    }
    #expect(reader.offset == Int64(file.text.utf8.count))
  }

  private func read(
    _ text: String, _ configuration: CSVReader.Configuration = .init(), piece: Int = .max
  ) -> (CSVReader, CSVRows) {
    var reader = CSVReader(configuration)
    var rows = CSVRows()
    let bytes = Array(text.utf8)
    var position = 0
    while position < bytes.count {
      let end = piece < bytes.count - position ? position + piece : bytes.count
      reader.feed(Array(bytes[position..<end]), now: noon, into: &rows)
      position = end
    }
    reader.finish(now: noon, into: &rows)
    return (reader, rows)
  }
}

/// A file with rows that are known, of series that repeat as an exporter's do, and rows that are broken.
struct RandomCSV {
  private(set) var text = ""
  private(set) var rows: [FlatSample] = []
  private(set) var errorCount = 0

  init(_ seed: inout Seed) {
    var columns = TelemetryField.allCases.map(\.name) + ["extra"]
    columns.shuffle(using: &seed)
    let ending = seed.oneIn(2) ? "\r\n" : "\n"
    text = (seed.oneIn(3) ? "\u{feff}" : "") + columns.joined(separator: ",") + ending
    let quotesAll = seed.oneIn(2)
    var hosts: [[String: String]] = []
    for index in 0..<(1 + seed.below(6)) {
      let odd = ["plain", "a,b", "a \"b\" c", "two\nlines", "", "back\\slash", "é😀"][seed.below(7)]
      hosts.append([
        "gpu_id": "\(index % 3)", "uuid": "GPU-\(index)", "Hostname": "node-\(index / 3)", "pod": odd, "extra": odd,
        "metric_name": "m\(seed.below(3))", "modelName": seed.oneIn(2) ? "H100" : "",
      ])
    }
    for round in 0..<12 {
      for host in hosts where !seed.oneIn(8) {
        appendRow(host, time: 1_700_000_000 + round, columns, quotesAll, ending, &seed)
      }
      if seed.oneIn(5) { text += ending }
      if seed.oneIn(4) {
        text += "not,enough\(ending)"
        errorCount += 1
      }
      if seed.oneIn(4) {
        appendRow(["gpu_id": "", "metric_name": "m"], time: 1, columns, quotesAll, ending, &seed)
        rows.removeLast()
        errorCount += 1
      }
    }
    if seed.oneIn(2), text.hasSuffix(ending) { text.removeLast(1) }
  }

  private mutating func appendRow(
    _ host: [String: String], time: Int, _ columns: [String], _ quotesAll: Bool, _ ending: String, _ seed: inout Seed
  ) {
    let value = seed.oneIn(6) ? Double(bitPattern: seed.next() >> 2) : Double(seed.below(100_000)) / 1000
    var fields = host
    var labels = [
      "__name__": host["metric_name"] ?? "", "gpu": host["gpu_id"] ?? "", "UUID": host["uuid"] ?? "",
      "Hostname": host["Hostname"] ?? "", "pod": host["pod"] ?? "", "modelName": host["modelName"] ?? "",
    ]
    if host["uuid"] != nil {
      fields["labels_raw"] = "gpu=\"99\",instance=\"node:9400\",quoted=\"a\\\"b\""
      labels["instance"] = "node:9400"
      labels["quoted"] = "a\"b"
    }
    fields["value"] = "\(value)"
    fields["timestamp"] = seed.oneIn(3) ? "\(time)" : rfc3339(time)
    let cells = columns.map { column -> String in
      let cell = fields[column] ?? ""
      let needsQuotes = cell.utf8.contains { [0x2c, 0x22, 0x0d, 0x0a].contains($0) }
      return needsQuotes || quotesAll || seed.oneIn(20) ? "\"\(cell.replacing("\"", with: "\"\""))\"" : cell
    }
    text += cells.joined(separator: ",") + ending
    rows.append(FlatSample(Labels(labels.map { ($0.key, $0.value) }), Int64(time) * 1000, value))
  }

  private func rfc3339(_ seconds: Int) -> String {
    Date(timeIntervalSince1970: Double(seconds)).formatted(.iso8601)
  }
}
