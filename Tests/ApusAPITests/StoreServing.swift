import ApusAPI
import ApusAdapters
import ApusService
import ApusStore
import ApusTestKit
import Logging
import Synchronization

/// Servers of stores on free ports of the loopback, and their clients. Ends them all when told.
final class StoreServing: Sendable {
  private struct Running: Sendable {
    var task: Task<Void, any Error>
    var client: HTTPStore
  }

  private let running = Mutex<[Running]>([])

  /// A server that serves `store`, and a client of it.
  func serve(
    _ store: any Store, _ configuration: StoreServer.Configuration = StoreServer.Configuration(),
    client: HTTPStore.Configuration = HTTPStore.Configuration()
  ) async throws -> HTTPStore {
    let metrics = MetricsRegistry()
    let server = StoreServer(configuration, store: store, metrics: metrics)
    var http = HTTPServerPart.Configuration(role: "collect", version: "1.2.3", listen: .anyLoopback)
    http.bodyBytesMax = .mebibytes(64)
    let part = HTTPServerPart(
      http, metrics: metrics, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
      statistics: { Array("{}".utf8) }
    ) { router in server.add(to: router) }
    let task = Task { try await part.run() }
    let client = try HTTPStore(url: "http://\(try await part.address.get())", client)
    running.withLock { $0.append(Running(task: task, client: client)) }
    return client
  }

  /// Ends every server and client.
  func stop() async {
    let all = running.withLock { list in
      defer { list = [] }
      return list
    }
    for one in all {
      try? await one.client.close()
      one.task.cancel()
      _ = await one.task.result
    }
  }
}
