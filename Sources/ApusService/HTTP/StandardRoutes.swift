import ApusIO
import HTTPTypes
import Hummingbird

/// The routes that every role has: `/health`, `/ready`, `/stats` and `/metrics`.
struct StandardRoutes: Sendable {
  let role: String
  let version: String
  let metrics: MetricsRegistry
  let readiness: Readiness
  let statistics: @Sendable () async throws -> [UInt8]
  let clock: any WallClock
  let startedAt: UInt64

  func add(to router: Router<ServiceRequestContext>) {
    router.get("/health") { _, _ in json(health()) }
    router.get("/ready") { _, _ in
      let reasons = await readiness.reasons()
      return json(ready(reasons), status: reasons.isEmpty ? .ok : .serviceUnavailable)
    }
    router.get("/stats") { _, _ in json(try await statistics()) }
    router.get("/metrics") { _, _ in
      Response(
        status: .ok, headers: [.contentType: "text/plain; version=0.0.4; charset=utf-8", .cacheControl: "no-store"],
        body: ResponseBody(byteBuffer: ByteBuffer(bytes: metrics.render())))
    }
  }

  /// Says that the process lives and which one it is. Asks nobody, so that it answers even when a part hangs.
  private func health() -> [UInt8] {
    var writer = JSONWriter(reserving: 128)
    writer.beginObject()
    writer.key("status")
    writer.string("ok")
    writer.key("role")
    writer.string(role)
    writer.key("version")
    writer.string(version)
    writer.key("uptime_seconds")
    writer.integer(Int64((clock.monotonicNanoseconds &- startedAt) / 1_000_000_000))
    writer.endObject()
    return writer.bytes
  }

  private func ready(_ reasons: [(part: String, reason: String)]) -> [UInt8] {
    var writer = JSONWriter(reserving: 128)
    writer.beginObject()
    writer.key("status")
    writer.string(reasons.isEmpty ? "ready" : "not ready")
    writer.key("reasons")
    writer.beginArray()
    for (part, reason) in reasons {
      writer.beginObject()
      writer.key("part")
      writer.string(part)
      writer.key("reason")
      writer.string(reason)
      writer.endObject()
    }
    writer.endArray()
    writer.endObject()
    return writer.bytes
  }

  private func json(_ bytes: [UInt8], status: HTTPResponse.Status = .ok) -> Response {
    Response(
      status: status, headers: [.contentType: "application/json", .cacheControl: "no-store"],
      body: ResponseBody(byteBuffer: ByteBuffer(bytes: bytes)))
  }
}
