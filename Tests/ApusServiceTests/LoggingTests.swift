// Goal: each entry is one line that programs can read. Method: entries into a buffer, compared with whole lines.
import ApusService
import ApusTestKit
import Logging
import Synchronization
import Testing

@Suite struct LoggingTests {
  private final class Lines: Sendable {
    let text = Mutex("")
  }

  private func logged(_ format: LogFormat, _ body: (inout Logger) -> Void) -> String {
    let lines = Lines()
    var logger = Logger(label: "apus.test") { label in
      StructuredLogHandler(label: label, level: .info, format: format, clock: ManualClock()) { line in
        lines.text.withLock { $0 += String(decoding: line, as: UTF8.self) }
      }
    }
    body(&logger)
    return lines.text.withLock { $0 }
  }

  @Test func logfmt() {
    let text = logged(.logfmt) { logger in
      logger[metadataKey: "role"] = "broker"
      logger.debug("not shown")
      logger.info(
        "listening", metadata: ["address": "127.0.0.1:9000", "a key": "with \"quotes\" and\nline", "empty": ""])
    }
    #expect(
      text == #"time=2026-01-01T00:00:00Z level=info logger=apus.test message=listening"#
        + #" a_key="with \"quotes\" and\nline" address=127.0.0.1:9000 empty="" role=broker"# + "\n")
  }

  @Test func json() {
    let text = logged(.json) { $0.error("disk \"full\"", metadata: ["path": "/x\ty"]) }
    #expect(
      text == #"{"time":"2026-01-01T00:00:00Z","level":"error","logger":"apus.test","message":"disk \"full\"","#
        + #""path":"/x\ty"}"# + "\n")
  }
}
