import ApusFormats
import ApusIO
import ApusModel
import ApusService
import ApusStore
import Hummingbird

/// `/api/v1/admin/store/…`: what a person or a script has the store do with its files. Each answers when it is done.
///
/// They wait for no turn at the store and have no time limit: a merge of everything takes as long as it takes. A client
/// that goes away does not stop them.
package struct AdminRoutes: Sendable {
  let store: any Store
  let clock: any WallClock

  package init(store: any Store, clock: any WallClock) {
    self.store = store
    self.clock = clock
  }

  /// Registers the routes alone, on the server of a role that has no REST API.
  package func add(to router: Router<ServiceRequestContext>, metrics: MetricsRegistry) {
    let instruments = APIMetrics(metrics)
    RouteRegistration(
      gate: QueryGate(QueryGate.Configuration(), instruments: instruments.gate), metrics: instruments, clock: clock,
      timeout: .seconds(30)
    ).add(routes, to: router)
  }

  var routes: [Route] {
    [
      Route(
        .post, "/api/v1/admin/store/flush", operation: "flushStore", tag: .admin,
        summary: "Write what is in memory into blocks",
        description:
          "Answers once everything that had been taken in is in files, and the log may drop what they cover.",
        answers: [.json(200, "It is done.", AdminRoutes.work)] + AdminRoutes.refusals,
        handler: { request in
          try AdminRoutes.check(request)
          return try await work { store throws(StoreError) in try await store.flush() }
        }),
      Route(
        .post, "/api/v1/admin/store/compact", operation: "compactStore", tag: .admin,
        summary: "Merge what there is to merge",
        description:
          "Answers once nothing is left to merge, deleted samples are taken out, and what retention does not keep is "
          + "gone.",
        answers: [.json(200, "It is done.", AdminRoutes.work)] + AdminRoutes.refusals,
        handler: { request in
          try AdminRoutes.check(request)
          return try await work { store throws(StoreError) in try await store.compact() }
        }),
      Route(
        .post, "/api/v1/admin/store/snapshot", operation: "snapshotStore", tag: .admin,
        summary: "Make a consistent copy of the store's files",
        description:
          "Flushes, then gives every block a second name below `snapshots/` in the store's folder (or copies it where the "
          + "file system has no links), while samples are taken in. Remove the folder to be rid of it.",
        parameters: [AdminRoutes.name.declaration],
        answers: [
          .json(200, "It is there.", AdminRoutes.snapshot), .problem(409, "There is a snapshot of that name."),
        ] + AdminRoutes.refusals, handler: snapshot),
      Route(
        .post, "/api/v1/admin/store/delete", operation: "deleteSamples", tag: .admin,
        summary: "Delete the samples of series",
        description:
          "Hides the samples of the series that a selector names, within the range, from every query. What comes later is "
          + "not hidden. Their disk is given back when blocks are merged.",
        parameters: [
          AdminRoutes.match.declaration, AdminRoutes.start.declaration, AdminRoutes.end.declaration,
        ],
        answers: [
          .json(200, "They are hidden.", AdminRoutes.deleted)
        ] + AdminRoutes.refusals, handler: delete),
    ]
  }

  // MARK: Declarations

  static let name = Parameter<SnapshotName>(
    "name", "The snapshot's name, which is that of its folder. Without it the time, like `2026-01-01T00-00-00Z`.",
    schema: .text(pattern: "^[A-Za-z0-9_-][A-Za-z0-9._-]*$", maxLength: 128)
  ) { text throws(ParameterRefusal) in
    guard let name = SnapshotName(text) else {
      throw ParameterRefusal(
        "must be 1 to 128 of A-Z a-z 0-9 . _ - and must not begin with a dot or end in .partial")
    }
    return name
  }

  /// A few of them, every character escaped, are within the bound of a request's head.
  private static let matchLengthMax = 512

  static let match = Parameter<[Matcher]>(
    "match[]",
    "A selector as PromQL writes it, like `DCGM_FI_DEV_GPU_TEMP{Hostname=\"node-1\",gpu!=\"0\"}`, without regular "
      + "expressions. Repeated, each one's series are deleted. At least one is needed.",
    schema: .text(minLength: 1, maxLength: matchLengthMax), isRepeatable: true
  ) { text throws(ParameterRefusal) in
    guard text.unicodeScalars.count <= matchLengthMax else {
      throw ParameterRefusal("is longer than \(matchLengthMax) characters")
    }
    do throws(SelectorError) { return try Selector(parsing: text).matchers() } catch {
      throw ParameterRefusal("cannot be read: \(error)")
    }
  }

  static let start = Parameter<Timestamp>.time("start", "Only samples from this time on, included.")
  static let end = Parameter<Timestamp>.time("end", "Only samples up to this time, included.")

  private static let seconds = Schema.Property.required("seconds", .number, "How long it took.")

  private static let work = Schema.object([
    .required("blocks_merged", .integer(minimum: 0), "Blocks that were merged, and are gone."),
    .required("blocks_written", .integer(minimum: 0), "Blocks that were written."),
    .required("samples", .integer(minimum: 0), "Samples in the blocks that were written."),
    .required("bytes", .integer(minimum: 0), "Bytes of the files of those blocks."), seconds,
  ])

  private static let snapshot = Schema.object([
    .required("name", .text(), "The snapshot's name."),
    .required("path", .text(), "Its folder, below the store's."),
    .required("blocks", .integer(minimum: 0), "Blocks in it."),
    .required("blocks_linked", .integer(minimum: 0), "Of those, second names of the store's own files."),
    .required("samples", .integer(minimum: 0), "Samples in it."),
    .required("bytes", .integer(minimum: 0), "Bytes of its files, shared ones included."), seconds,
  ])

  private static let deleted = Schema.object([
    .required("selectors", .integer(minimum: 1), "How many selectors were applied."), seconds,
  ])

  private static let refusals: [DeclaredAnswer] = [
    .problem(400, "A parameter cannot be, or this kind of store cannot do it."),
    .problem(403, "A browser sent it for a page of another origin."),
    .problem(413, "The request has a body that is too large."),
    .problem(500, "It failed; the server's log has the cause."),
    .problem(503, "The store cannot be reached, or is stopping; `Retry-After` says when to retry."),
  ]

  // MARK: Handlers

  private static func check(_ request: RouteRequest) throws(Problem) {
    guard request.isForeign else { return }
    throw Problem(status: 403, detail: "a page of another origin may not change the store")
  }

  private func elapsed(since begin: UInt64) -> Double { Double(clock.monotonicNanoseconds &- begin) / 1e9 }

  /// Runs a call that goes on when the client goes away, as it would do half of its work otherwise.
  private func run<Value: Sendable>(
    _ body: @escaping @Sendable (any Store) async throws(StoreError) -> Value
  ) async throws -> Value {
    let store = store
    let task = Task { () -> Result<Value, StoreError> in
      do throws(StoreError) { return .success(try await body(store)) } catch { return .failure(error) }
    }
    switch await task.value {
    case .success(let value): return value
    case .failure(.refused(let reason)): throw Problem(status: 400, detail: reason)
    case .failure(let error): throw error
    }
  }

  private func work(
    _ body: @escaping @Sendable (any Store) async throws(StoreError) -> StoreWork
  ) async throws -> Answer {
    let begin = clock.monotonicNanoseconds
    let work = try await run(body)
    var writer = JSONWriter(reserving: 128)
    writer.beginObject()
    writer.member("blocks_merged", work.blocksMerged)
    writer.member("blocks_written", work.blocksWritten)
    writer.member("samples", work.samples)
    writer.key("bytes")
    writer.integer(work.bytes)
    writer.member("seconds", elapsed(since: begin))
    writer.endObject()
    return Answer(body: writer.bytes, isRevalidated: false)
  }

  @Sendable private func snapshot(_ request: RouteRequest) async throws -> Answer {
    try AdminRoutes.check(request)
    let begin = clock.monotonicNanoseconds
    let name = request.arguments[AdminRoutes.name] ?? .of(Timestamp(milliseconds: clock.now))
    let made = try await run { store throws(StoreError) in try await store.snapshot(named: name) }
    var writer = JSONWriter(reserving: 256)
    writer.beginObject()
    writer.member("name", made.name)
    writer.member("path", made.path)
    writer.member("blocks", made.blocks)
    writer.member("blocks_linked", made.blocksLinked)
    writer.member("samples", made.samples)
    writer.key("bytes")
    writer.integer(made.bytes)
    writer.member("seconds", elapsed(since: begin))
    writer.endObject()
    return Answer(body: writer.bytes, isRevalidated: false)
  }

  @Sendable private func delete(_ request: RouteRequest) async throws -> Answer {
    try AdminRoutes.check(request)
    let selectors = request.arguments.all(AdminRoutes.match)
    if selectors.isEmpty {
      throw Problem(
        status: 400, detail: "match[] is missing; name the series to delete, like match[]=up{instance=\"a\"}",
        parameter: "match[]")
    }
    let start = request.arguments[AdminRoutes.start] ?? TimeRange.all.start
    let end = request.arguments[AdminRoutes.end] ?? TimeRange.all.end
    guard start <= end else {
      throw Problem(status: 400, detail: "end is before start", parameter: "end")
    }
    let begin = clock.monotonicNanoseconds
    let range = TimeRange(start: start, end: end)
    for matchers in selectors {
      try await run { store throws(StoreError) in try await store.delete(matchers, in: range) }
    }
    var writer = JSONWriter(reserving: 64)
    writer.beginObject()
    writer.member("selectors", selectors.count)
    writer.member("seconds", elapsed(since: begin))
    writer.endObject()
    return Answer(body: writer.bytes, isRevalidated: false)
  }
}
