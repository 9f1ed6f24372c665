// Goal: merges are correct whatever the blocks are: no block is left out that would change who wins, the number of blocks
// stays bounded, and merging ends. Method: tables of block lists, and seeded random lists run to the end.

import ApusModel
import ApusStore
import ApusTestKit
import Testing

@Suite struct CompactionPlanTests {
  private let day: Int64 = 86_400_000
  private var plan: CompactionPlan {
    CompactionPlan(partitionMilliseconds: day, blockSamplesMin: 100, mergeSamplesMax: 10_000)
  }

  private func block(
    _ id: UInt64, _ range: ClosedRange<Int64>, samples: Int = 1000, sequence: UInt64? = nil, applied: UInt64 = 0
  ) -> BlockMeta {
    BlockMeta(
      id: id, sequence: sequence ?? id, minimum: range.lowerBound, maximum: range.upperBound, samples: samples,
      series: 1, bytes: 1, valueBytes: 1, timestampBytes: 0, tombstonesApplied: applied)
  }

  @Test func spansAreBoundedHoweverScatteredTheSamples() {
    let scattered = Dictionary(uniqueKeysWithValues: (0..<20_000).map { (Int64($0 * 7), 1) })
    let spans = plan.spans(scattered)
    #expect(spans.count <= 201)
    #expect(spans.first?.start.milliseconds == .min && spans.last?.end.milliseconds == .max)
    for index in spans.indices.dropFirst() {
      #expect(spans[index].start.milliseconds == spans[index - 1].end.milliseconds + 1)
    }
    #expect(plan.spans([20_000: 5000, 20_001: 5000]).count == 2)
    #expect(plan.spans([0: 3, 20_000: 5000]).count == 2, "an old straggler does not widen the block of today")
    #expect(plan.spans([20_000: 5000, 20_001: 3]).count == 2)
    #expect(plan.spans([.min / day - 1: 5, .max / day: 5]).count == 1)
  }

  @Test func blocksOfOneDayAreMerged() {
    let blocks = [block(1, 0...10), block(2, 20...30), block(3, day...day + 5)]
    #expect(plan.nextOfAll(blocks, tombstone: 0, settled: [])?.map(\.id) == [1, 2])
    #expect(plan.nextOfAll([blocks[0], blocks[2]], tombstone: 0, settled: []) == nil)
    #expect(plan.nextOfAll([block(1, 0...10)], tombstone: 4, settled: [])?.map(\.id) == [1], "a tombstone to apply")
    #expect(plan.nextOfAll([block(1, 0...10, applied: 4)], tombstone: 4, settled: []) == nil)
  }

  @Test func smallNeighboursAreMerged() {
    let blocks = (0..<10).map { block(UInt64($0 + 1), Int64($0) * 5 * day...Int64($0) * 5 * day + 1, samples: 10) }
    #expect(plan.nextOfAll(blocks, tombstone: 0, settled: [])?.count == 10)
  }

  @Test func aMergeNeverLeavesOutWhatLiesBetween() {
    // The middle block lies over both and is too large to come along: the two must not be merged around it.
    let blocks = [block(1, 0...100), block(2, 0...100, samples: 9900), block(3, 0...100)]
    #expect(plan.nextOfAll(blocks, tombstone: 0, settled: []) == nil)
    // A sibling with the sequence of the last one must come along.
    let siblings = [
      block(1, 0...100, sequence: 1), block(2, 0...100, sequence: 2), block(3, 90...150, samples: 9000, sequence: 2),
    ]
    #expect(plan.nextOfAll(siblings, tombstone: 0, settled: [])?.map(\.id) == [2, 3], "not 1 with 2 alone")
  }

  @Test func theBackgroundMergesWhatIsWorthIt() {
    let now = 10 * day
    let today = (0..<3).map { block(UInt64($0 + 1), now + Int64($0) * 10...now + Int64($0) * 10 + 9) }
    #expect(plan.nextInBackground(today, now: now + 50, settled: []) == nil, "three blocks of today wait")
    let four = today + [block(4, now + 30...now + 39)]
    #expect(plan.nextInBackground(four, now: now + 50, settled: [])?.count == 4)
    #expect(plan.nextInBackground(today, now: now + day, settled: [])?.count == 3, "a day that is over")
    let lopsided = [block(1, 0...10, samples: 9000), block(2, 0...10, samples: 10)]
    #expect(plan.nextInBackground(lopsided, now: now, settled: []) == nil, "a straggler does not rewrite a large block")
    #expect(plan.nextInBackground(today, now: now + day, settled: [1, 2, 3]) == nil)
  }

  @Test func mergingEndsAndKeepsOrder() {
    for seed in UInt64(0)..<200 {
      var random = Seed(seed)
      var blocks: [BlockMeta] = []
      for id in 1...UInt64(2 + random.below(20)) {
        let start = Int64(random.below(40)) * day / 4
        let length = Int64(random.below(random.oneIn(4) ? 20 : 2)) * day / 2 + 1
        blocks.append(
          block(id, start...start + length, samples: 1 + random.below(2000), sequence: id / UInt64(1 + random.below(2)))
        )
      }
      var nextID: UInt64 = 1000
      var settled: Set<UInt64> = []
      var turns = 0
      while let inputs = plan.nextOfAll(blocks, tombstone: 0, settled: settled) {
        turns += 1
        guard turns < 200 else {
          Issue.record("seed \(seed) does not end")
          break
        }
        let ids = Set(inputs.map(\.id))
        let low = inputs.map(\.sequence).min()!
        let high = inputs.map(\.sequence).max()!
        let hull = inputs.map(\.minimum).min()!...inputs.map(\.maximum).max()!
        for other in blocks where !ids.contains(other.id) && (low...high).contains(other.sequence) {
          let lies = inputs.contains { $0.minimum <= other.maximum && other.minimum <= $0.maximum }
          #expect(!lies || inputs.count == 1, "seed \(seed): \(other) lies between what is merged")
        }
        #expect(inputs.reduce(0) { $0 + $1.samples } <= 10_000 || inputs.count == 1)
        blocks.removeAll { ids.contains($0.id) }
        // One block comes out where it fits in a day, else two that follow each other.
        let total = inputs.reduce(0) { $0 + $1.samples }
        let outputs =
          hull.upperBound / day == hull.lowerBound / day
          ? [hull] : [hull.lowerBound...hull.upperBound - 1, hull.upperBound...hull.upperBound]
        for range in outputs {
          blocks.append(block(nextID, range, samples: total / outputs.count, sequence: high))
          if outputs.count > 1 { settled.insert(nextID) }
          nextID += 1
        }
      }
    }
  }
}
