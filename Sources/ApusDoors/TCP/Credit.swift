/// How much a subscriber has said it will take. Pure.
///
/// Messages are never sent beyond the credit. Bytes may pass it by one frame, since a frame is not cut to fit.
package struct Credit: Hashable, Sendable {
  /// The most that can be outstanding; more granted is cut to this.
  package static let messagesMax: Int64 = 1 << 31
  package static let bytesMax: Int64 = 1 << 40

  /// Nil for no bound.
  package private(set) var messages: Int64?
  package private(set) var bytes: Int64?

  /// A dimension without a number is not bounded.
  package init(messages: Int64?, bytes: Int64?) {
    self.messages = messages.map { min($0, Credit.messagesMax) }
    self.bytes = bytes.map { min($0, Credit.bytesMax) }
  }

  package var isExhausted: Bool { (messages.map { $0 <= 0 } ?? false) || (bytes.map { $0 <= 0 } ?? false) }

  /// Adds to what is left; a dimension that has no bound stays so.
  package mutating func grant(messages more: Int64?, bytes moreBytes: Int64?) {
    if let more, let present = messages { messages = min(present + more, Credit.messagesMax) }
    if let moreBytes, let present = bytes { bytes = min(present + moreBytes, Credit.bytesMax) }
  }

  /// Takes up to `wanted` messages and answers how many were had: none when either dimension is exhausted.
  package mutating func take(messages wanted: Int) -> Int {
    if isExhausted { return 0 }
    guard let present = messages else { return wanted }
    let taken = min(Int64(wanted), present)
    messages = present - taken
    return Int(taken)
  }

  /// Pays for a frame that is sent; may leave the credit negative.
  package mutating func spend(messages count: Int, bytes size: Int) {
    messages = messages.map { $0 - Int64(count) }
    bytes = bytes.map { $0 - Int64(size) }
  }
}
