import ApusBroker
import ApusPipeline
import ApusService
import ApusStore
import Logging
import ServiceLifecycle

/// Says where a server listens, on standard output.
struct Announcement: Service {
  let name: String
  let address: BoundAddress

  func run() async throws {
    // A server that cannot listen fails by itself.
    guard let address = try? await address.get() else { return }
    Terminal.say("listening \(name) \(address)")
  }
}

/// Keeps a log open until everything that uses it has stopped.
struct LogPart: Service {
  let log: EmbeddedLog

  func run() async throws {
    try? await gracefulShutdown()
    try await log.close()
  }
}

/// Keeps a store open until everything that uses it has stopped.
struct StorePart: Service {
  let store: any Store

  func run() async throws {
    try? await gracefulShutdown()
    try await store.close()
  }
}

/// Runs a streamer until its sources end or the role stops.
struct StreamerPart: Service {
  let streamer: Streamer
  /// Of a replay, for the bar on a terminal.
  var progress: ReplayProgress?

  func run() async throws {
    let bar = progress.flatMap { progress in Terminal.isInteractive ? Task { await progress.show() } : nil }
    defer { bar?.cancel() }
    try await withGracefulShutdownHandler {
      do throws(PipelineError) { try await streamer.run() } catch { throw StartupError(pipeline: error) }
    } onGracefulShutdown: {
      streamer.stop()
    }
  }
}

/// Runs a collector until the role stops.
struct CollectorPart: Service {
  let collector: Collector
  /// What to take in before stopping: in one process, all that has been published by then.
  var catchUp: (@Sendable () async -> Void)?

  func run() async throws {
    let collecting = Task { () -> Result<Void, PipelineError> in
      do throws(PipelineError) { return .success(try await collector.run()) } catch { return .failure(error) }
    }
    let result = await withTaskCancellationHandler {
      await withGracefulShutdownHandler {
        await collecting.value
      } onGracefulShutdown: {
        Task {
          await catchUp?()
          collecting.cancel()
        }
      }
    } onCancel: {
      collecting.cancel()
    }
    if case .failure(let error) = result { throw StartupError(pipeline: error) }
  }
}

/// Runs several streamers; done when all of them are.
struct StreamerGroup: Service {
  let parts: [StreamerPart]

  func run() async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      for part in parts { group.addTask { try await part.run() } }
      try await group.waitForAll()
    }
  }
}
