import ApusIO
import ApusModel

/// Writes the samples of some tracks as blocks: what a seal does with the head and a compaction with older blocks.
enum BlockMerge {
  /// Cohorts of fewer series than this share a group with others of equal timestamps.
  private static let smallCohort = 64

  struct Input {
    var tracks: [Track]
    var table: SeriesTable
    var masks: MaskTable
  }

  /// Writes what lies in the range; nil when that is nothing (then there is no file either).
  /// `shouldStop` is asked between groups.
  static func write(
    _ input: Input, range: TimeRange, disk: any Disk, path: String, id: UInt64, sequence: UInt64,
    tombstonesApplied: UInt64, options: BlockWriter.Options, shouldStop: () -> Bool
  ) throws(StoreError) -> BlockMeta? {
    var writer: BlockWriter
    do throws(DiskError) { writer = try BlockWriter(disk, path: path, options: options) } catch { throw .disk(error) }
    var assembler = ColumnAssembler()
    for group in try groups(input, range) {
      if shouldStop() { throw .closed }
      var timestamps: [Int64]?
      for cohort in group {
        // Planned when it is written: the plans of all series of a day would be as large as its timestamps.
        let plan = try MergePlan(input.tracks, members: cohort.members, range: range)
        if plan.timestamps.isEmpty { continue }
        if timestamps != plan.timestamps {
          if timestamps != nil { try end(&writer) }
          writer.beginGroup(timestamps: plan.timestamps)
          timestamps = plan.timestamps
        }
        for series in cohort.series {
          let present = try assembler.assemble(plan, input.table.places[series], masks: input.masks)
          if present == 0 { continue }
          do throws(DiskError) {
            try writer.addSeries(
              input.table.labels[series], values: assembler.values,
              presence: present == plan.timestamps.count ? nil : UnsafePointer(assembler.presence), present: present)
          } catch { throw .disk(error) }
        }
      }
      if timestamps != nil { try end(&writer) }
    }
    if writer.samples == 0 {
      do throws(DiskError) { try disk.remove(path) } catch { throw .disk(error) }
      return nil
    }
    do throws(DiskError) {
      return try writer.finish(id: id, sequence: sequence, tombstonesApplied: tombstonesApplied)
    } catch { throw .disk(error) }
  }

  private static func end(_ writer: inout BlockWriter) throws(StoreError) {
    do throws(DiskError) { try writer.endGroup() } catch { throw .disk(error) }
  }

  /// The cohorts of each group to write. Small cohorts with equal timestamps go together: the per-series lane of one
  /// remote writer is many series that were sent with one timestamp. They are told apart by a hash of their timestamps,
  /// so that none of these is kept; where it is wrong, the group is cut when it is written.
  private static func groups(_ input: Input, _ range: TimeRange) throws(StoreError) -> [[Cohort]] {
    var result: [[Cohort]] = []
    var shared: [Int: Int] = [:]
    for cohort in input.table.cohorts() {
      if cohort.series.count < smallCohort {
        let plan = try MergePlan(input.tracks, members: cohort.members, range: range)
        if plan.timestamps.isEmpty { continue }
        let hash = hash(plan.timestamps)
        if let known = shared[hash] {
          result[known].append(cohort)
          continue
        }
        shared[hash] = result.count
      }
      result.append([cohort])
    }
    return result
  }

  /// The same in every run, as files are.
  private static func hash(_ timestamps: [Int64]) -> Int {
    var hash = UInt64(timestamps.count)
    for timestamp in timestamps {
      let product = (hash ^ UInt64(bitPattern: timestamp)).multipliedFullWidth(by: 0xa076_1d64_78bd_642f)
      hash = product.high ^ product.low ^ 0x9e37_79b9_7f4a_7c15
    }
    return Int(truncatingIfNeeded: hash)
  }
}
