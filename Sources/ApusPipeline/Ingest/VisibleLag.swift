import ApusBroker
import ApusIO
import ApusModel
import ApusService
import ApusStore
import Synchronization

/// Measures how long what was taken in stays invisible where the store is another process's: what became durable when,
/// against the positions that the store tells from time to time.
final class VisibleLag: Sendable {
  private struct Mark {
    var end: Int64
    var durableAt: UInt64
  }

  /// Marks kept for a partition; beyond it the newest takes the place of the one before, which can only make the lag
  /// look longer than it is.
  private static let marksMax = 4096

  private let marks = Mutex<[TopicPartition: [Mark]]>([:])
  private let latency: Histogram
  private let lag: Gauge
  private let clock: any WallClock

  init(latency: Histogram, registry: MetricsRegistry, clock: any WallClock) {
    self.latency = latency
    self.clock = clock
    lag = registry.gauge(
      "gpu_telemetry_ingest_visible_lag_seconds",
      help: "How long the oldest of what the ways in have taken has been durable and is not visible to queries yet.")
  }

  func note(durable ends: [TopicPartition: Int64], at instant: UInt64) {
    marks.withLock { marks in
      for (partition, end) in ends {
        var list = marks[partition] ?? []
        marks[partition] = nil
        if list.count >= VisibleLag.marksMax {
          list[list.count - 1].end = end
        } else {
          list.append(Mark(end: end, durableAt: instant))
        }
        marks[partition] = list
      }
    }
  }

  func note(visible positions: [LogPartition: StorePosition]) {
    let now = clock.monotonicNanoseconds
    let oldest = marks.withLock { marks -> UInt64? in
      var oldest: UInt64?
      for (partition, list) in marks {
        let name = LogPartition(topic: partition.topic.text, partition: partition.partition)
        let reached = positions[name]?.appended ?? 0
        let seen = list.firstIndex { $0.end > reached } ?? list.count
        for mark in list[..<seen] { latency.observe(Double(now &- mark.durableAt) / 1e9) }
        let rest = Array(list[seen...])
        marks[partition] = rest.isEmpty ? nil : rest
        if let first = rest.first { oldest = min(oldest ?? .max, first.durableAt) }
      }
      return oldest
    }
    lag.set(oldest.map { Double(now &- $0) / 1e9 } ?? 0)
  }
}
