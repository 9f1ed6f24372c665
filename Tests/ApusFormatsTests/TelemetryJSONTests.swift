// Goal: telemetry objects are read from JSON and written to it without loss, both label generations come out as one set
// of fields, and the bulk reader gives what the plain one gives. Method: tables, round trips, and a seeded comparison of
// the two readers over messages that repeat, change and break.

import ApusFormats
import ApusIO
import ApusModel
import ApusTestKit
import Testing

struct TelemetryJSONTests {
  @Test func readsAnObject() throws {
    let decoded = try decode(
      #"{"timestamp":"2025-07-18T20:42:34Z","metric_name":"m","gpu_id":0,"uuid":"GPU-1","Hostname":"node-a","value":"97.5","labels_raw":"a=\"b\",gpu=\"7\"","unknown":{"x":[1,2]},"pod":null}"#
    )
    let object = try #require(decoded.objects.first)
    #expect(decoded.errors.isEmpty)
    #expect(object.timestamp == noon && object.value == 97.5 && object.gpuID == "0" && object.pod == "")
    #expect(try object.labels() == series("m", ["gpu": "0", "UUID": "GPU-1", "Hostname": "node-a", "a": "b"]))
  }

  @Test(arguments: [
    ("1752871354", 1_752_871_354_000 as Int64?), ("1752871354.5", 1_752_871_354_500),
    ("\"1752871354\"", 1_752_871_354_000),
    ("1752871354250", 1_752_871_354_250), ("0", 0), ("-1.5", -1500), ("null", nil), ("\"\"", nil),
    ("\"1970-01-01T00:00:00Z\"", 0), ("\"\\u0031970-01-01T00:00:00Z\"", 0),
  ])
  func readsTimes(_ text: String, _ expected: Int64?) throws {
    let decoded = try decode("{\"timestamp\":\(text),\"metric_name\":\"m\",\"gpu_id\":\"0\",\"value\":1}")
    #expect(decoded.objects.map(\.timestamp?.milliseconds) == [expected])
  }

  @Test(arguments: [
    ("1", 1.0), ("-1.5e3", -1500), ("\"2.5\"", 2.5), ("\"+Inf\"", .infinity), ("\"-Inf\"", -.infinity),
    ("\"\\u0031\"", 1),
  ])
  func readsValues(_ text: String, _ expected: Double) throws {
    #expect(
      try decode("[{\"metric_name\":\"m\",\"gpu_id\":\"0\",\"value\":\(text)}]").objects.map(\.value) == [expected])
  }

  @Test(arguments: [
    (#"{"metric_name":"m","value":1}"#, TelemetryProblem.missingGPU),
    (#"{"metric_name":"m","gpu_id":"","value":1}"#, .missingGPU), (#"{"gpu_id":"0","value":1}"#, .missingMetricName),
    (#"{"metric_name":"m","gpu_id":"0"}"#, .missingValue),
    (#"{"metric_name":"m","gpu_id":"0","value":""}"#, .missingValue),
    (#"{"metric_name":"m","gpu_id":"0","value":"x"}"#, .invalidValue),
    (#"{"metric_name":"m","gpu_id":"0","value":true}"#, .wrongType(.value)),
    (#"{"metric_name":["m"],"gpu_id":"0","value":1}"#, .wrongType(.metricName)),
    (#"{"metric_name":"m","gpu_id":"0","value":1,"timestamp":"soon"}"#, .invalidTimestamp),
    (#"{"metric_name":"m","gpu_id":"0","value":1,"timestamp":{}}"#, .wrongType(.timestamp)),
    (#"{"metric_name":"m","gpu_id":"0","value":1,"timestamp":1e300}"#, .invalidTimestamp),
    (#"{"metric_name":"m","gpu_id":"0","value":1,"labels_raw":"a=b"}"#, .invalidLabels),
    (#"{"metric_name":"m","gpu_id":"0","value":1,"labels_raw":"a=\"b\" c=\"d\""}"#, .invalidLabels),
  ])
  func anObjectThatIsNoTelemetryCostsOnlyItself(_ text: String, _ expected: TelemetryProblem) throws {
    let good = #"{"metric_name":"m","gpu_id":"0","value":1}"#
    let decoded = try decode("[\(good),\(text),\(good)]")
    #expect(decoded.objects.count == 2)
    #expect(decoded.errors == [.telemetry(expected, position: good.utf8.count + 2)])
    var reader = TelemetryJSONReader()
    try reader.read(Array("[\(good),\(text),\(good)]".utf8), now: noon)
    let batch = reader.take()
    #expect(batch.errors == decoded.errors && batch.sampleCount == 2)
  }

  @Test(arguments: ["", "[", "[1]", "{\"a\":}", "[{}", "{} x", "\"text\"", "nul", "[{}]]", "[[{}]]"])
  func whatIsNotJSONThrowsAndAddsNothing(_ text: String) {
    #expect(throws: FormatError.self) { try decode(text) }
    var reader = TelemetryJSONReader()
    let good = #"{"metric_name":"m","gpu_id":"0","value":1}"#
    #expect(throws: FormatError.self) { try reader.read(Array("[\(good),\(text)".utf8), now: noon) }
    #expect(reader.take().sampleCount == 0)
  }

  @Test func objectsComeBackWhole() throws {
    var seed = Seed(3)
    for _ in 0..<300 {
      var labels: [String: String] = ["__name__": "m", "gpu": "\(seed.below(8))"]
      for name in ["UUID", "Hostname", "pod", "other", "device", "modelName", "namespace", "container", "instance"]
      where seed.oneIn(2) {
        labels[name] = ["plain", "a\"b", "a\\b", "a\nb", "é😀", "a,b=c", "\u{1}"][seed.below(7)]
      }
      let all = Labels(labels.map { ($0.key, $0.value) })
      let value = Double(bitPattern: seed.next())
      let time = Timestamp(milliseconds: Int64(seed.below(2_000_000_000)) * 1000 + Int64(seed.below(1000)))
      let object = TelemetryObject(labels: all, timestamp: time, value: value)
      var writer = JSONWriter()
      TelemetryJSON.append(object, to: &writer)
      // The encoder of whole series writes the same bytes.
      var quick = JSONWriter()
      TelemetryRowEncoder(all).appendJSON(time, value, to: &quick)
      #expect(quick.bytes == writer.bytes)
      let back = try #require(try TelemetryJSON.decode(writer.bytes).objects.first)
      #expect(back.timestamp == time)
      #expect(back.value.bitPattern == value.bitPattern || back.value.isNaN && value.isNaN)
      #expect(
        try back.labels() == all.setting(labels["Hostname"] == nil ? [("Hostname", all.text(of: .hostname))] : []))
    }
  }

  @Test func bothLabelGenerationsAreUnderstood() {
    let old = series("dcgm_gpu_temp", ["gpu": "0", "uuid": "GPU-1", "pod_name": "p", "container_name": "c"])
    let new = series("m", ["gpu": "0", "UUID": "GPU-1", "hostname": "node-a", "model_name": "H100"])
    let relabelled = series(
      "m", ["gpu": "0", "pod": "exporter", "exported_pod": "train-0", "instance": "node-b:9400", "namespace": "gpu"])
    let first = TelemetryObject(labels: old, timestamp: noon, value: 1)
    #expect(first.uuid == "GPU-1" && first.pod == "p" && first.container == "c")
    let second = TelemetryObject(labels: new, timestamp: noon, value: 1)
    #expect(second.hostname == "node-a" && second.modelName == "H100")
    let third = TelemetryObject(labels: relabelled, timestamp: noon, value: 1)
    #expect(third.pod == "train-0" && third.hostname == "node-b" && third.namespace == "gpu")
    #expect(Labels.host(ofInstance: "[::1]:9400") == "::1" && Labels.host(ofInstance: "::1") == "::1")
  }

  @Test func scrapesAreWrittenAsArrays() throws {
    let set = SeriesSet(series: [series("a", ["gpu": "0"]), series("b", ["gpu": "1"])])
    var absent = Bitmap(count: 2)
    absent[0] = true
    let bytes = TelemetryJSON.encode(Scrape(set: set, timestamp: noon, values: [0, 2], absent: absent))
    let objects = try TelemetryJSON.decode(bytes).objects
    #expect(objects.map(\.metricName) == ["b"] && objects.map(\.value) == [2])
    #expect(try TelemetryJSON.decode(TelemetryJSON.encode(objects)).objects == objects)
  }

  @Test(arguments: 0..<60)
  func theBulkReaderGivesWhatThePlainOneGives(_ number: UInt64) throws {
    var seed = Seed(number)
    var reader = TelemetryJSONReader(seriesMax: seed.oneIn(4) ? 5 : 1000, errorsListedMax: 1000)
    for _ in 0..<40 {
      let message = randomMessage(&seed)
      var plain: TelemetryJSON.Decoded?
      do { plain = try TelemetryJSON.decode(message) } catch {}
      do { try reader.read(message, now: noon) } catch { #expect(plain == nil, "\(error)") }
      let batch = reader.take()
      let expected = try (plain?.objects ?? []).map { object in
        FlatSample(try object.labels(), (object.timestamp ?? noon).milliseconds, object.value)
      }
      #expect(flatten([], batch.samples) == expected.sorted(), "\(String(decoding: message, as: UTF8.self))")
      #expect(batch.errors == plain?.errors ?? [])
    }
  }

  /// Objects of a few series in a few spellings, sometimes broken.
  private func randomMessage(_ seed: inout Seed) -> [UInt8] {
    var objects: [String] = []
    for _ in 0...seed.below(6) {
      let value = ["1", "-2.5", "1e3", "\"NaN\"", "\"3\"", "01", "+1", ".5", "1.", "null", "\"1.\"", "tru"]
      let time = [
        "1752871354", "\"2025-07-18T20:42:34Z\"", "\"x\"", "null", "01", "1752871354250", "\"\\u0031\"", "\"1\"",
      ]
      let isOdd = seed.oneIn(3)
      let valueText = value[isOdd ? seed.below(value.count) : seed.below(3)]
      let timeText = time[isOdd ? seed.below(time.count) : seed.below(2)]
      let labels = #""metric_name":"m\#(seed.below(2))","gpu_id":"\#(seed.below(3))""#
      switch seed.below(6) {
      case 0: objects.append("{\"value\":\(valueText),\(labels),\"timestamp\":\(timeText)}")
      case 1: objects.append("{ \"timestamp\" : \(timeText) , \(labels) , \"value\" : \(valueText) }")
      case 2: objects.append("{\(labels),\"value\":\(valueText)}")
      case 3: objects.append("{\"timestamp\":1,\"timestamp\":\(timeText),\(labels),\"value\":\(valueText)}")
      default: objects.append("{\"timestamp\":\(timeText),\(labels),\"x\":[{}],\"value\":\(valueText)}")
      }
    }
    var bytes = Array((objects.count == 1 ? objects[0] : "[\(objects.joined(separator: ","))]").utf8)
    if seed.oneIn(6) { bytes[seed.below(bytes.count)] = UInt8(seed.below(256)) }
    return bytes
  }

  private func decode(_ text: String) throws -> TelemetryJSON.Decoded { try TelemetryJSON.decode(Array(text.utf8)) }
}
