/// What the parts that every role stands on refuse: settings that cannot be, and sockets that cannot be had.
package enum ServiceError: Error, Hashable, Sendable {
  /// A size that is not written as a number with a unit; the reason as a clause.
  case invalidByteCount(text: String, reason: String)
  case invalidDuration(text: String, reason: String)
  case invalidAddress(text: String, reason: String)
  /// Another process listens there; the flag that chooses the address.
  case addressInUse(address: String, flag: String)
  case cannotListen(address: String, flag: String, reason: String)
  /// The part stopped before the value that was waited for existed.
  case stopped(part: String)
}

extension ServiceError: CustomStringConvertible {
  package var description: String {
    switch self {
    case .invalidByteCount(let text, let reason):
      "\"\(text)\" is not a size: \(reason); write it like 64MiB, 500MB or 1GiB"
    case .invalidDuration(let text, let reason):
      "\"\(text)\" is not a duration: \(reason); write it like 30s, 250ms or 1h30m"
    case .invalidAddress(let text, let reason):
      "\"\(text)\" is not an address to listen on: \(reason); write it like 127.0.0.1:9000, [::1]:9000 or :9000"
    case .addressInUse(let address, let flag):
      "\(address) is in use by another process; stop it or choose another address with \(flag) HOST:PORT"
        + " (port 0 takes any free one)"
    case .cannotListen(let address, let flag, let reason):
      "cannot listen on \(address): \(reason); choose another address with \(flag) HOST:PORT"
    case .stopped(let part): "\(part) has stopped"
    }
  }
}
