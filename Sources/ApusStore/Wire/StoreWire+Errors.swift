import ApusIO

/// A store's error as it goes over the wire: those that a caller treats differently keep their facts, the rest their
/// sentence.
extension StoreWire {
  package static func frame(of error: StoreError) -> Frame {
    var writer = ByteWriter()
    func write(_ code: UInt8, _ numbers: [Int64] = [], _ text: String = "") {
      writer.write(code)
      for number in numbers { writer.writeZigzag(number) }
      writer.writeLengthPrefixed(text)
    }
    switch error {
    case .tooManySamples(let found, let limit): write(1, [Int64(found), Int64(limit)])
    case .gap(let partition, let expected, let got): write(2, [expected, got], partition)
    case .headFull(let bytes, let limit, let cause): write(3, [Int64(bytes), Int64(limit)], cause ?? "")
    case .closed: write(4, [], "the process that owns the store is stopping")
    case .unreachable(let reason): write(4, [], reason)
    case .refused(let reason): write(5, [], reason)
    case .snapshotExists(let name): write(6, [], name)
    case .disk, .corrupt, .unsupportedVersion, .invalidConfiguration: write(5, [], error.description)
    }
    return Frame(kind: .error, payload: writer.bytes)
  }

  package static func decodeError(_ payload: [UInt8]) throws(ByteReaderError) -> StoreError {
    try decode(payload) { reader throws(ByteReaderError) in
      let code: UInt8 = try reader.read()
      var numbers: [Int64] = []
      for _ in 0..<((1...3).contains(code) ? 2 : 0) { numbers.append(try reader.readZigzag()) }
      let text = try reader.readString(max: textBytesMax)
      switch code {
      case 1: return .tooManySamples(found: Int(numbers[0]), limit: Int(numbers[1]))
      case 2: return .gap(partition: text, expected: numbers[0], got: numbers[1])
      case 3: return .headFull(bytes: Int(numbers[0]), limit: Int(numbers[1]), cause: text.isEmpty ? nil : text)
      case 4: return .unreachable(text)
      case 6: return .snapshotExists(text)
      default: return .refused(text)
      }
    }
  }
}
