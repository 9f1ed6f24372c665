// Goal: a real export of a fleet gives the answers that its file says. Method: the file's rows, read by the formats'
// reader, go through a store in memory, and every row is asked back over the API. Skipped where the file is absent: set
// APUS_REAL_EXPORT to its path.

import ApusAPI
import ApusFormats
import ApusModel
import ApusStore
import Foundation
import HTTPTypes
import Testing

@Suite struct RealExportTests {
  private static let file: String? = {
    let named = ProcessInfo.processInfo.environment["APUS_REAL_EXPORT"]
    let beside = URL(filePath: #filePath).deletingLastPathComponent().appending(
      path: "../../../shared/data/dcgm_metrics_20250718_134233.csv"
    ).standardized.path
    return [named, beside].compactMap { $0 }.first { FileManager.default.fileExists(atPath: $0) }
  }()

  /// The cells of the file, by a reader of its own: all cells but the header's are in quotes.
  private static func rows(of text: String) -> [[String]] {
    text.split(separator: "\n").dropFirst().map { line in
      var cells: [String] = []
      var cell: [UInt8] = []
      var isQuoted = false
      for byte in line.utf8 where byte != 13 {
        if byte == UInt8(ascii: "\"") {
          // A doubled quote closes and opens again; the second one is kept.
          if !isQuoted, !cell.isEmpty { cell.append(byte) }
          isQuoted.toggle()
        } else if byte == UInt8(ascii: ","), !isQuoted {
          cells.append(String(decoding: cell, as: UTF8.self))
          cell = []
        } else {
          cell.append(byte)
        }
      }
      return cells + [String(decoding: cell, as: UTF8.self)]
    }
  }

  @Test(.enabled(if: RealExportTests.file != nil))
  func theFleetOfTheFileIsTheFleetOfTheAPI() async throws {
    let text = String(decoding: try Data(contentsOf: URL(filePath: try #require(Self.file))), as: UTF8.self)
    let rows = Self.rows(of: text)
    #expect(rows.count == 2470)
    let fixture = try APIFixture()
    var expected: [String: [String: Double]] = [:]
    for row in rows {
      var object = TelemetryObject(
        timestamp: TimeText.parse(row[0]), metricName: row[1], gpuID: row[2], value: try #require(Double(row[10])))
      object.device = row[3]
      object.uuid = row[4]
      object.modelName = row[5]
      object.hostname = row[6]
      object.labelsRaw = row[11]
      expected[row[4], default: [:]][row[1]] = object.value
      try await fixture.append(
        [try object.labels()], [object.value], at: try #require(object.timestamp).milliseconds)
    }
    let wanted = expected
    try await fixture.server().application.test(.live) { client async throws in
      let gpus = try await client.pages("/api/v1/gpus").flatMap { try $0.rows() }
      #expect(gpus.count == 247)
      #expect(Set(gpus.compactMap { $0["node_id"]?.string }).count == 31)
      #expect(try await client.get("/api/v1/nodes").rows().count == 31)
      let zero = Set(rows.filter { $0[2] == "0" }.map { $0[4] })
      let bare = try await client.pages("/api/v1/gpus/0").flatMap { try $0.rows() }
      #expect(Set(bare.compactMap { $0["uuid"]?.string }) == zero)
      // Every value is compared below; here only one GPU in eight, by the requests that people make.
      for (index, uuid) in wanted.keys.sorted().enumerated() where index % 8 == 0 {
        let samples = try await client.get("/api/v1/gpus/\(uuid)/telemetry").rows()
        #expect(samples.count == 10)
        let got = Dictionary(
          uniqueKeysWithValues: samples.map { ($0["metric_name"]?.string ?? "", $0["value"]?.double ?? .nan) })
        #expect(got == wanted[uuid])
      }
      let latest = try await client.pages("/api/v1/metrics/latest?limit=1000").flatMap { try $0.rows() }
      #expect(latest.count == 2470)
      for row in latest {
        let value = wanted[row["uuid"]?.string ?? ""]?[row["metric_name"]?.string ?? ""]
        #expect(row["value"]?.double == value)
      }
    }
  }
}
