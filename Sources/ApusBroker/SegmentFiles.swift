import ApusIO
import Synchronization

/// Open files of segments for readers, at most `limit`; the one unused for longest is closed first. A file that is
/// being read stays open until that read is done, whatever happens here.
final class SegmentFiles: Sendable {
  private struct State {
    var open: [SegmentPath: (file: any DiskFile, lastUse: UInt64)] = [:]
    var uses: UInt64 = 0
  }

  private let disk: any Disk
  private let limit: Int
  private let state = Mutex(State())

  init(disk: any Disk, limit: Int) {
    self.disk = disk
    self.limit = limit
  }

  func file(_ path: SegmentPath) throws(DiskError) -> any DiskFile {
    let known = state.withLock { state -> (any DiskFile)? in
      state.uses += 1
      state.open[path]?.lastUse = state.uses
      return state.open[path]?.file
    }
    if let known { return known }
    let file = try disk.open(path.log, .read)
    state.withLock { state in
      if state.open.count >= limit,
        let oldest = state.open.min(by: { $0.value.lastUse < $1.value.lastUse })
      {
        state.open[oldest.key] = nil
      }
      state.open[path] = (file, state.uses)
    }
    return file
  }

  /// The file is gone or replaced.
  func forget(_ path: SegmentPath) { state.withLock { $0.open[path] = nil } }

  var count: Int { state.withLock { $0.open.count } }
}
