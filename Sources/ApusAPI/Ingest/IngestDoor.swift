import ApusFormats
import ApusIO
import ApusModel
import ApusPipeline
import ApusService
import HTTPTypes
import Synchronization

/// The ways in of one process: what takes bodies in, decodes them and hands them to the log.
package final class IngestDoor: Sendable {
  /// What may be set. All of it has defaults.
  package struct Configuration: Sendable {
    /// Bodies of all requests that are being taken in, as sent and expanded together.
    package var inFlightBytesMax = 256 << 20
    /// Requests that wait for room; more are refused at once.
    package var waitingMax = 1000
    /// How long they wait.
    package var wait = Duration.seconds(5)
    package var textSources = TextSources.Bounds()
    /// Keeps outsiders from choosing names that collide in the decoders' tables.
    package var seed: UInt64 = 0

    package init() {}
  }

  let ingester: Ingester
  let clock: any WallClock
  let metrics: IngestMetrics
  let sources: TextSources
  let remoteWrite: DecoderPool<RemoteWriteSlot>
  let lineProtocol: DecoderPool<LineProtocolSlot>
  let otlp: OTLPSlot
  private let gate: IngestGate

  package init(
    _ configuration: Configuration = Configuration(), ingester: Ingester, metrics registry: MetricsRegistry,
    clock: any WallClock = SystemClock()
  ) {
    self.ingester = ingester
    self.clock = clock
    metrics = IngestMetrics(registry)
    sources = TextSources(bounds: configuration.textSources)
    let seed = configuration.seed
    remoteWrite = DecoderPool { RemoteWriteSlot(seed: seed) }
    lineProtocol = DecoderPool { LineProtocolSlot(seed: seed) }
    otlp = OTLPSlot(seed: seed)
    gate = IngestGate(
      bytesMax: configuration.inFlightBytesMax, waitingMax: configuration.waitingMax, wait: configuration.wait,
      inFlight: metrics.inFlightBytes, refused: metrics.refusedBusy)
  }

  var lease: IngestLease { IngestLease(gate) }

  /// The largest record.
  var recordBytesMax: Int { ingester.configuration.batchBytesMax - 1024 }

  /// Publishes items; what the log refuses becomes an answer that says whether to come back.
  func take(_ items: [TelemetryItem]) async throws(Problem) -> Ingester.Receipt {
    do throws(Ingester.Refusal) { return try await ingester.take(items) } catch { throw IngestDoor.problem(for: error) }
  }

  static func problem(for refusal: Ingester.Refusal) -> Problem {
    switch refusal {
    case .notVisible: return .unavailable(refusal.description, retryAfterSeconds: 5)
    case .log(let error):
      switch error {
      case .backpressure: return .unavailable(error.description, retryAfterSeconds: 1)
      case .logFull, .diskFull, .unreachable, .shuttingDown, .disk, .corrupt, .protocolViolation, .unknownTopic:
        return .unavailable("the log cannot take anything now: \(error)", retryAfterSeconds: 5)
      case .messageTooLarge, .invalidBatch:
        return Problem(status: 413, detail: "the log does not take as much at once: \(error)")
      case .unknownPartition, .topicExists, .invalidTopicName, .invalidConfiguration, .offsetOutOfRange,
        .outOfOrderSequence, .fencedProducer, .unknownProducer:
        return .unavailable("the log refuses what came in: \(error)", retryAfterSeconds: 30)
      }
    }
  }
}

/// A few decoders that requests take turns with: what one has learned of a sender's series makes the next request cheap.
final class DecoderPool<Slot: Sendable>: Sendable {
  /// Idle decoders that are kept.
  private static var idleMax: Int { 4 }

  private let make: @Sendable () -> Slot
  private let idle = Mutex<[Slot]>([])

  init(_ make: @escaping @Sendable () -> Slot) { self.make = make }

  /// Calls the body with a decoder that nobody else has meanwhile. The last one given back is the first one taken.
  func use<Value>(_ body: (Slot) -> Value) -> Value {
    let slot = idle.withLock { $0.popLast() } ?? make()
    defer {
      idle.withLock { idle in
        if idle.count < DecoderPool.idleMax { idle.append(slot) }
      }
    }
    return body(slot)
  }
}

/// A decoder of remote write in a pool.
///
/// Invariant (`@unchecked Sendable`): the decoder is used by the call that took the slot out of its pool.
final class RemoteWriteSlot: @unchecked Sendable {
  private var decoder: RemoteWriteDecoder

  init(seed: UInt64) { decoder = RemoteWriteDecoder(isLenient: true, seed: seed) }

  func decode(_ body: UnsafeRawBufferPointer, _ version: RemoteWriteVersion) -> Result<IngestBatch, FormatError> {
    do throws(FormatError) { return .success(try decoder.decode(body, version: version)) } catch {
      return .failure(error)
    }
  }
}

/// A decoder of the line protocol in a pool.
///
/// Invariant (`@unchecked Sendable`): the decoder is used by the call that took the slot out of its pool.
final class LineProtocolSlot: @unchecked Sendable {
  private var decoder: LineProtocolDecoder

  init(seed: UInt64) { decoder = LineProtocolDecoder(seed: seed) }

  func decode(
    _ body: UnsafeRawBufferPointer, _ precision: LineProtocolPrecision, now: Int64
  ) -> Result<IngestBatch, FormatError> {
    do throws(FormatError) { return .success(try decoder.decode(body, precision: precision, now: now)) } catch {
      return .failure(error)
    }
  }
}
