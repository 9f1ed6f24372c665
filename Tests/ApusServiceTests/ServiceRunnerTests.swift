// Goal: a role drains on the first signal, is cancelled when the grace period ends, exits on the second signal, and
// reports the first failure. Method: parts that record what happens to them; signals from a stream.
import ApusService
import Logging
import ServiceLifecycle
import Synchronization
import Testing

@Suite struct ServiceRunnerTests {
  /// What happened, in order.
  private final class Journal: Sendable {
    private let entries = Mutex<[String]>([])
    func add(_ entry: String) { entries.withLock { $0.append(entry) } }
    var all: [String] { entries.withLock { $0 } }
  }

  /// Runs until it is asked to stop.
  private struct Obedient: Service {
    var name: String
    var journal: Journal
    var started: @Sendable () -> Void = {}

    func run() async throws {
      journal.add("\(name) started")
      started()
      try await gracefulShutdown()
      journal.add("\(name) drained")
    }
  }

  /// Takes no notice of a graceful stop.
  private struct Stubborn: Service {
    var journal: Journal
    var started: @Sendable () -> Void

    func run() async throws {
      started()
      // Nothing ever comes of this stream: only the task's cancellation ends it.
      for await _ in AsyncStream(Never.self, { _ in }) {}
      journal.add("cancelled: \(Task.isCancelled)")
    }
  }

  private struct Failing: Service {
    func run() async throws { throw ServiceError.addressInUse(address: "127.0.0.1:1", flag: "--tcp-listen") }
  }

  private func runner(_ signals: AsyncStream<Int32>, grace: Duration = .seconds(60)) -> ServiceRunner {
    var logger = Logger(label: "test")
    logger.logLevel = .critical
    var runner = ServiceRunner(logger: logger, grace: grace)
    runner.signals = signals
    // Long, so that a busy machine does not pass for a part that hangs.
    runner.cancellationGrace = .seconds(600)
    runner.exitNow = { code in Issue.record("the process would end with \(code)") }
    return runner
  }

  @Test func theFirstSignalDrainsInReverseOrder() async throws {
    let journal = Journal()
    let (signals, sender) = AsyncStream.makeStream(of: Int32.self)
    let code = try await runner(signals).run([
      ServicePart("log", Obedient(name: "log", journal: journal)),
      ServicePart("door", Obedient(name: "door", journal: journal, started: { sender.yield(15) })),
    ])
    #expect(code == .success)
    #expect(journal.all.suffix(2) == ["door drained", "log drained"])
  }

  @Test func whatDoesNotDrainIsCancelled() async throws {
    let journal = Journal()
    let (signals, sender) = AsyncStream.makeStream(of: Int32.self)
    let code = try await runner(signals, grace: .milliseconds(20)).run([
      ServicePart("stubborn", Stubborn(journal: journal, started: { sender.yield(15) }))
    ])
    #expect(code == .graceExceeded)
    #expect(journal.all == ["cancelled: true"])
  }

  @Test func theSecondSignalExitsAtOnce() async throws {
    let journal = Journal()
    let (signals, sender) = AsyncStream.makeStream(of: Int32.self)
    let (exits, exited) = AsyncStream.makeStream(of: Int32.self)
    var runner = runner(signals)
    runner.exitNow = { exited.yield($0) }
    let running = Task { [runner] in
      try await runner.run([
        ServicePart(
          "stubborn",
          Stubborn(journal: journal) {
            sender.yield(2)
            sender.yield(2)
          })
      ])
    }
    var iterator = exits.makeAsyncIterator()
    #expect(await iterator.next() == 130)
    running.cancel()
  }

  @Test func aFailureDrainsTheOthersAndIsReported() async throws {
    let journal = Journal()
    let (signals, _) = AsyncStream.makeStream(of: Int32.self)
    do {
      _ = try await runner(signals).run([
        ServicePart("log", Obedient(name: "log", journal: journal)), ServicePart("door", Failing()),
      ])
      Issue.record("the failure was lost")
    } catch {
      #expect(error.exitCode == .addressInUse)
      #expect(error.sentence.contains("--tcp-listen"))
    }
    #expect(journal.all == ["log started", "log drained"])
  }

  @Test func aFinishedPartMayLeaveTheOthersRunning() async throws {
    struct Brief: Service {
      var done: @Sendable () -> Void
      func run() async throws { done() }
    }
    let journal = Journal()
    let (signals, sender) = AsyncStream.makeStream(of: Int32.self)
    let code = try await runner(signals).run([
      ServicePart("log", Obedient(name: "log", journal: journal)),
      ServicePart("replay", Brief(done: { sender.yield(15) }), whenFinished: .keepOthersRunning),
    ])
    #expect(code == .success)
    #expect(journal.all == ["log started", "log drained"])
  }
}
