import Logging
import ServiceLifecycle
import UnixSignals

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// One part of a role, as the runner needs to know it.
package struct ServicePart: Sendable {
  /// What the end of this part means for the others.
  package enum WhenFinished: Sendable {
    /// The others go on (a replay that has come to its end).
    case keepOthersRunning
    /// The role is done: the others drain and stop.
    case stopOthers
  }

  package var name: String
  package var service: any Service
  package var whenFinished: WhenFinished

  package init(_ name: String, _ service: any Service, whenFinished: WhenFinished = .stopOthers) {
    self.name = name
    self.service = service
    self.whenFinished = whenFinished
  }
}

/// Runs the parts of a role until they are done or a signal comes, and stops them in good order.
///
/// Parts start in the order given and stop in the reverse order, each drained before the next is asked. The first
/// SIGTERM or SIGINT asks them to drain; when the grace period is over they are cancelled; a second signal ends the
/// process at once.
package struct ServiceRunner: Sendable {
  package var logger: Logger
  /// How long draining may take.
  package var grace: Duration
  /// How long cancelled parts may take to come back before the process ends without them.
  package var cancellationGrace: Duration = .seconds(2)
  /// Signals to stop by; tests give their own.
  package var signals: AsyncStream<Int32>?
  /// Ends the process at once; tests give their own.
  package var exitNow: @Sendable (Int32) -> Void = { exit($0) }

  package init(logger: Logger, grace: Duration = .seconds(10)) {
    self.logger = logger
    self.grace = grace
  }

  /// Returns when all parts have stopped: `success`, or `graceExceeded` when some had to be cancelled. Throws the
  /// first part's failure, after the others have drained.
  package func run(_ parts: [ServicePart]) async throws(StartupError) -> ExitCode {
    var quiet = logger
    // The group's own account of each step is of use only for debugging.
    if quiet.logLevel > .trace { quiet.logLevel = max(quiet.logLevel, .warning) }
    let group = ServiceGroup(
      configuration: ServiceGroupConfiguration(
        services: parts.map { part in
          .init(
            service: part.service,
            successTerminationBehavior: part.whenFinished == .stopOthers ? .gracefullyShutdownGroup : .ignore,
            failureTerminationBehavior: .gracefullyShutdownGroup, serviceName: part.name)
        }, logger: quiet))
    let work = Task { try await group.run() }
    let arrivals = if let signals { signals } else { await ServiceRunner.processSignals() }
    let watcher = Task { await watch(arrivals, group: group, work: work) }
    defer { watcher.cancel() }
    let outcome = await work.result
    let wasCancelled = work.isCancelled
    switch outcome {
    case .success: return wasCancelled ? .graceExceeded : .success
    case .failure(let error):
      if wasCancelled { return .graceExceeded }
      throw ServiceRunner.startupError(error)
    }
  }

  /// Acts on signals until cancelled.
  private func watch(_ arrivals: AsyncStream<Int32>, group: ServiceGroup, work: Task<Void, any Error>) async {
    await withDiscardingTaskGroup { tasks in
      var count = 0
      for await signal in arrivals {
        count += 1
        if count > 1 {
          logger.warning("second signal: stopping at once", metadata: ["signal": "\(signal)"])
          exitNow(128 + signal)
          break
        }
        logger.info("stopping", metadata: ["signal": "\(signal)", "grace": "\(DurationText.format(grace))"])
        tasks.addTask { await group.triggerGracefulShutdown() }
        tasks.addTask { await enforceGrace(work) }
      }
      tasks.cancelAll()
    }
  }

  /// Cancels what has not drained in time, and ends the process when even that does not help.
  private func enforceGrace(_ work: Task<Void, any Error>) async {
    do {
      try await Task.sleep(for: grace)
      logger.error("not everything was drained within the grace period; stopping what is left")
      work.cancel()
      try await Task.sleep(for: cancellationGrace)
      logger.error("a part did not stop when cancelled; ending the process")
      exitNow(ExitCode.graceExceeded.rawValue)
    } catch {
      // Cancelled: the work ended in time.
    }
  }

  private static func processSignals() async -> AsyncStream<Int32> {
    let sequence = await UnixSignalsSequence(trapping: .sigterm, .sigint)
    let (stream, continuation) = AsyncStream.makeStream(of: Int32.self, bufferingPolicy: .bufferingNewest(8))
    let task = Task {
      for await signal in sequence { continuation.yield(signal == .sigterm ? SIGTERM : SIGINT) }
      continuation.finish()
    }
    continuation.onTermination = { _ in task.cancel() }
    return stream
  }

  private static func startupError(_ error: any Error) -> StartupError {
    switch error {
    case let error as StartupError: error
    case let error as ServiceError: StartupError(error)
    default: StartupError("\(error)", exitCode: .software)
    }
  }
}
