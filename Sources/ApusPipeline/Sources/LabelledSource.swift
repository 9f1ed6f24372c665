import ApusModel
import Synchronization

/// Another source with labels put on everything that it reports; they win over labels of the same names.
package final class LabelledSource: Source {
  /// Sets that are remembered with their labels; beyond it they are all made anew.
  static let setsMax = 10_000

  package var name: String { source.name }
  package var isLive: Bool { source.isLive }
  private let source: any Source
  private let labels: [(String, String)]
  private let sets = Mutex<[SeriesSetID: SeriesSet]>([:])

  package init(_ source: any Source, labels: [(String, String)]) {
    self.source = source
    self.labels = labels
  }

  package func next() async throws(PipelineError) -> SourceBatch? {
    guard var batch = try await source.next() else { return nil }
    for index in batch.items.indices {
      switch batch.items[index].content {
      case .scrape(var scrape):
        scrape.set = try labelled(scrape.set)
        batch.items[index].content = .scrape(scrape)
      case .samples(let series):
        batch.items[index].content = .samples(
          series.map {
            SeriesSamples(labels: $0.labels.setting(labels), timestamps: $0.timestamps, values: $0.values)
          })
      case .encoded: preconditionFailure("\(source.name) makes records that are written already")
      }
    }
    return batch
  }

  package func resume(from position: SourcePosition) async throws(PipelineError) {
    try await source.resume(from: position)
  }

  private func labelled(_ set: SeriesSet) throws(PipelineError) -> SeriesSet {
    if let known = sets.withLock({ $0[set.id] }) { return known }
    let series = set.series.map { $0.setting(labels) }
    guard Set(series).count == series.count else {
      throw .invalidConfiguration(
        setting: "--label", reason: "overwrites what tells two series apart; leave out labels such as UUID or gpu")
    }
    let result = SeriesSet(series: series, descriptors: set.descriptors)
    sets.withLock { sets in
      if sets.count >= LabelledSource.setsMax { sets = [:] }
      sets[set.id] = result
    }
    return result
  }
}
