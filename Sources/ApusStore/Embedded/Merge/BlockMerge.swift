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
    tombstonesApplied: UInt64, shouldStop: () -> Bool
  ) throws(StoreError) -> BlockMeta? {
    var writer: BlockWriter
    do throws(DiskError) { writer = try BlockWriter(disk, path: path) } catch { throw .disk(error) }
    var assembler = ColumnAssembler()
    for group in try groups(input, range) {
      if shouldStop() { throw .closed }
      writer.beginGroup(timestamps: group.plans[0].plan.timestamps)
      for (cohort, plan) in group.plans {
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
      do throws(DiskError) { try writer.endGroup() } catch { throw .disk(error) }
    }
    if writer.samples == 0 {
      do throws(DiskError) { try disk.remove(path) } catch { throw .disk(error) }
      return nil
    }
    do throws(DiskError) {
      return try writer.finish(id: id, sequence: sequence, tombstonesApplied: tombstonesApplied)
    } catch { throw .disk(error) }
  }

  private struct Group {
    var plans: [(cohort: Cohort, plan: MergePlan)]
  }

  /// The groups to write. Small cohorts with equal timestamps go together: the per-series lane of one remote writer is
  /// many series that were sent with one timestamp.
  private static func groups(_ input: Input, _ range: TimeRange) throws(StoreError) -> [Group] {
    var result: [Group] = []
    var shared: [[Int64]: Int] = [:]
    for cohort in input.table.cohorts() {
      let plan = try MergePlan(input.tracks, members: cohort.members, range: range)
      if plan.timestamps.isEmpty { continue }
      if cohort.series.count < smallCohort {
        if let known = shared[plan.timestamps] {
          result[known].plans.append((cohort, plan))
          continue
        }
        shared[plan.timestamps] = result.count
      }
      result.append(Group(plans: [(cohort, plan)]))
    }
    return result
  }
}
