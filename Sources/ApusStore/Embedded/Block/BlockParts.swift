/// What the parts of a block take of its file, in bytes; together they are the file's length.
struct BlockParts: Hashable, Sendable {
  /// The chunks of values.
  var values: Int64 = 0
  /// What says where the chunks of a stripe lie.
  var directory: Int64 = 0
  var timestamps: Int64 = 0
  /// Label names and values.
  var symbols: Int64 = 0
  /// Label columns and the list of stripes.
  var groups: Int64 = 0
  var postings: Int64 = 0
  /// Header and footer.
  var frame: Int64 = 0

  init() {}

  init(_ frame: BlockFrame, _ blockGroups: [Block.Group], fileBytes: Int) {
    for group in blockGroups {
      for stripe in group.stripes { directory += Int64(stripe.directoryBytes) }
    }
    values = Int64(frame.values.count) - directory
    timestamps = Int64(frame.timestamps.count)
    symbols = Int64(frame.symbols.range.count)
    groups = Int64(frame.groups.range.count)
    postings = Int64(frame.postings.range.count)
    self.frame = Int64(fileBytes) - values - directory - timestamps - symbols - groups - postings
  }

  /// By the names that statistics give them, in the order in which people are shown them.
  var named: [(name: String, bytes: Int64)] {
    [
      ("values", values), ("directory", directory), ("timestamps", timestamps), ("symbols", symbols),
      ("groups", groups), ("postings", postings), ("frame", frame),
    ]
  }

  static func += (left: inout BlockParts, right: BlockParts) {
    left.values += right.values
    left.directory += right.directory
    left.timestamps += right.timestamps
    left.symbols += right.symbols
    left.groups += right.groups
    left.postings += right.postings
    left.frame += right.frame
  }
}
