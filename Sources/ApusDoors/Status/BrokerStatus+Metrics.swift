import ApusBroker
import ApusService

extension BrokerStatus {
  /// Adds what the log counts to a registry: read when somebody looks, so it costs appends nothing.
  package func register(in registry: MetricsRegistry) {
    registry.collect { [self] in families() }
  }

  private func families() -> [MetricFamily] {
    let log = statisticsNow
    func counter(_ name: String, _ help: String, _ value: Int64) -> MetricFamily {
      MetricFamily(.counter, "gpu_telemetry_broker_\(name)", help, Double(value))
    }
    func gauge(_ name: String, _ help: String, _ value: Int) -> MetricFamily {
      MetricFamily(.gauge, "gpu_telemetry_broker_\(name)", help, Double(value))
    }
    return [
      counter("log_turns_total", "Turns of the log's writer.", log.totals.turns),
      counter("log_syncs_total", "Syncs of segments to stable storage.", log.totals.syncs),
      counter("log_batches_total", "Record batches appended.", log.totals.batchesAppended),
      counter("log_bytes_appended_total", "Bytes appended to segments.", log.totals.bytesAppended),
      counter("log_checkpoints_total", "Checkpoints written.", log.totals.checkpoints),
      counter("log_segments_rolled_total", "Segments closed because they were full.", log.totals.segmentsRolled),
      counter("log_segments_dropped_total", "Segments dropped by retention.", log.totals.segmentsDropped),
      counter("log_write_failures_total", "Writes that failed.", log.totals.writeFailures),
      counter("log_sync_failures_total", "Syncs that failed.", log.totals.syncFailures),
      counter("log_disk_full_events_total", "Writes that failed because the disk was full.", log.totals.diskFullEvents),
      counter(
        "log_full_events_total", "Appends refused because nothing may be dropped that no store covers.",
        log.totals.logFullEvents),
      counter("log_messages_read_total", "Messages handed to readers.", log.messagesRead),
      counter("log_bytes_read_total", "Bytes handed to readers.", log.bytesRead),
      counter("log_corrupt_reads_total", "Reads that met bytes with a wrong checksum.", log.corruptReads),
      counter("log_torn_tails_total", "Torn ends of segments that recovery cut.", Int64(log.recovery.tornTails)),
      counter("log_corruptions_total", "Corrupt segments found.", Int64(log.recovery.corruptions)),
      gauge("log_queued_bytes", "Bytes accepted and not yet durable.", log.queuedBytes),
      gauge("log_queued_bytes_max", "The bound of the bytes not yet durable.", log.queueBytesMax),
      gauge("log_waiting_reads", "Reads that wait for new records.", log.longPolls),
      gauge("log_open_files", "Files of closed segments open for readers.", log.openFiles),
    ] + partitionFamilies(log) + [lagFamily(log)]
  }

  private func partitionFamilies(_ log: LogStatistics) -> [MetricFamily] {
    func gauge(
      _ name: String, _ help: String, _ value: (TopicDescription.Partition) -> Int64
    ) -> MetricFamily {
      var samples: [MetricFamily.Sample] = []
      for topic in log.topics {
        for partition in topic.partitions {
          samples.append(
            .init(
              labels: [("topic", topic.name.text), ("partition", "\(partition.index)")],
              value: Double(value(partition))))
        }
      }
      return MetricFamily(name: "gpu_telemetry_broker_\(name)", help: help, kind: .gauge, samples: samples)
    }
    return [
      gauge("partition_log_start", "The first offset that is still there.") { $0.logStart },
      gauge("partition_high_watermark", "The offset behind the last durable record.") { $0.highWatermark },
      gauge("partition_bytes", "Bytes of the partition's segments.") { $0.bytes },
      gauge("partition_segments", "The partition's segments.") { Int64($0.segments) },
    ]
  }

  /// By partition and not by client: clients come and go, and each would leave a series behind. `/stats` has them all.
  private func lagFamily(_ log: LogStatistics) -> MetricFamily {
    let marks = BrokerStatus.highWatermarks(log)
    var worst: [TopicPartition: Int64] = [:]
    for subscriber in subscribersNow {
      for (partition, _, lag) in BrokerStatus.lags(subscriber, marks) {
        let key = TopicPartition(topic: subscriber.topic, partition: partition)
        worst[key] = max(worst[key] ?? 0, lag)
      }
    }
    let samples = worst.sorted { ($0.key.topic, $0.key.partition) < ($1.key.topic, $1.key.partition) }.map {
      MetricFamily.Sample(
        labels: [("topic", $0.key.topic.text), ("partition", "\($0.key.partition)")], value: Double($0.value))
    }
    return MetricFamily(
      name: "gpu_telemetry_broker_subscriber_lag_messages",
      help: "How many messages the slowest subscriber of a partition is behind.", kind: .gauge, samples: samples)
  }
}
