import ApusIO
import Logging
import Synchronization

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// How the process writes its own diagnostics.
package enum LogFormat: String, Sendable, CaseIterable {
  /// `time=… level=info message="…" key=value`: readable, and parsed by every log system.
  case logfmt
  /// One JSON object a line.
  case json
}

/// Sets the process's logging up. To be called once, first thing.
package enum LoggingSetup {
  /// Sends everything at `level` and above to standard error, one line an entry.
  package static func bootstrap(level: Logger.Level, format: LogFormat, clock: any WallClock = SystemClock()) {
    LoggingSystem.bootstrap { label in
      StructuredLogHandler(label: label, level: level, format: format, clock: clock, sink: standardErrorSink)
    }
  }

  /// One `write` a line, so that lines of several threads, and of several processes on one pipe, do not mix. Text that
  /// cannot be written is dropped: nobody may wait for a terminal.
  package static let standardErrorSink: @Sendable ([UInt8]) -> Void = { line in
    line.withUnsafeBytes { bytes in _ = write(2, bytes.baseAddress, bytes.count) }
  }
}

/// Writes each entry as one line of key and value pairs.
package struct StructuredLogHandler: LogHandler {
  package var metadata: Logger.Metadata = [:]
  package var metadataProvider: Logger.MetadataProvider?
  package var logLevel: Logger.Level
  private let label: String
  private let format: LogFormat
  private let clock: any WallClock
  private let sink: @Sendable ([UInt8]) -> Void

  package init(
    label: String, level: Logger.Level, format: LogFormat, clock: any WallClock,
    sink: @escaping @Sendable ([UInt8]) -> Void
  ) {
    self.label = label
    logLevel = level
    self.format = format
    self.clock = clock
    self.sink = sink
  }

  package subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  package func log(event: LogEvent) {
    var pairs = metadata
    if let provided = metadataProvider?.get() { pairs.merge(provided) { _, new in new } }
    if let own = event.metadata { pairs.merge(own) { _, new in new } }
    var fields: [(String, String)] = [
      ("time", RFC3339.format(clock.now)), ("level", event.level.rawValue), ("logger", label),
      ("message", event.message.description),
    ]
    if let error = event.error { fields.append(("error", "\(error)")) }
    for key in pairs.keys.sorted() { fields.append((key, pairs[key].map { "\($0)" } ?? "")) }
    sink(StructuredLogHandler.line(fields, format))
  }

  static func line(_ fields: [(String, String)], _ format: LogFormat) -> [UInt8] {
    var writer = JSONWriter(reserving: 256)
    switch format {
    case .json:
      writer.beginObject()
      for (key, value) in fields {
        writer.key(key)
        writer.string(value)
      }
      writer.endObject()
    case .logfmt:
      for (index, field) in fields.enumerated() {
        if index > 0 { writer.bytes.append(UInt8(ascii: " ")) }
        for byte in field.0.utf8 { writer.bytes.append(isPlain(byte) ? byte : UInt8(ascii: "_")) }
        writer.bytes.append(UInt8(ascii: "="))
        if !field.1.isEmpty, field.1.utf8.allSatisfy(isPlain) {
          writer.bytes.append(contentsOf: field.1.utf8)
        } else {
          // logfmt quotes as JSON does.
          var quoted = JSONWriter()
          quoted.string(field.1)
          writer.bytes.append(contentsOf: quoted.bytes)
        }
      }
    }
    writer.bytes.append(UInt8(ascii: "\n"))
    return writer.bytes
  }

  /// Bytes that need no quotes in logfmt.
  private static func isPlain(_ byte: UInt8) -> Bool {
    byte > 0x20 && byte != UInt8(ascii: "=") && byte != UInt8(ascii: "\"") && byte != UInt8(ascii: "\\") && byte != 0x7f
  }
}
