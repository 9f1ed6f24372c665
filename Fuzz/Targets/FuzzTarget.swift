/// A decoder under attack: its name, and what it does with bytes that nobody vouches for.
///
/// The body may reject the bytes as it likes. What it must not do is trap, read or write out of bounds, run without end
/// or take memory out of proportion; and where there are two ways to one result, it traps when they differ.
package struct FuzzTarget: Sendable {
  /// Also the name of the folder of its seeds.
  package let name: String
  /// Longer inputs are not tried: they find nothing that shorter ones do not, and slow the search down.
  package let bytesMax: Int
  package let run: @Sendable (UnsafeRawBufferPointer) -> Void

  package init(_ name: String, bytesMax: Int, run: @escaping @Sendable (UnsafeRawBufferPointer) -> Void) {
    self.name = name
    self.bytesMax = bytesMax
    self.run = run
  }
}

/// Every decoder of bytes from outside. One that is missing here is not attacked.
package enum FuzzTargets {
  package static let all: [FuzzTarget] = [
    .exposition, .csv, .telemetryJSON, .scrapeRecord, .tcpFrame, .segmentReader, .snappy, .remoteWrite, .lineProtocol,
    .otlpMetrics, .selector,
  ]

  /// The target that must fail: it shows that the search finds what there is to find.
  package static let canary = FuzzTarget("canary", bytesMax: 64) { bytes in
    // Three steps, so that it takes a search led by coverage to get there.
    guard bytes.count >= 3, bytes[0] == UInt8(ascii: "a"), bytes[1] == UInt8(ascii: "p"), bytes[2] == UInt8(ascii: "u")
    else { return }
    fatalError("the canary was found")
  }
}
