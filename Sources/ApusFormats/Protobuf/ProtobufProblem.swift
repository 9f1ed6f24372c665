/// What is wrong with a message in the protocol buffers' wire format.
package enum ProtobufProblem: Error, Hashable, Sendable {
  /// A field reaches beyond its message, or the message ends within a field.
  case truncated
  /// A varint of more than ten bytes.
  case varintTooLong
  /// A field with the number 0, or one beyond 2^29 - 1.
  case invalidFieldNumber
  /// Groups (wire types 3 and 4) were never part of proto3, and 6 and 7 were never defined.
  case unsupportedWireType(UInt8)
  /// A field that is known here comes in a wire type that it cannot have.
  case wrongWireType(field: Int)
  /// A packed field whose bytes are not a whole number of elements.
  case packedLength(field: Int)
  /// Messages within messages beyond the bound.
  case tooDeep(limit: Int)
  /// Remote write 2.0: the first symbol has to be the empty string.
  case firstSymbolNotEmpty
}

extension ProtobufProblem: CustomStringConvertible {
  package var description: String {
    switch self {
    case .truncated: "a field reaches beyond its message"
    case .varintTooLong: "a number has more than ten bytes"
    case .invalidFieldNumber: "a field number is out of range"
    case .unsupportedWireType(let type): "wire type \(type) is not supported"
    case .wrongWireType(let field): "field \(field) has the wrong wire type"
    case .packedLength(let field): "packed field \(field) does not hold a whole number of elements"
    case .tooDeep(let limit): "messages are nested more than \(limit) deep"
    case .firstSymbolNotEmpty: "the first symbol is not the empty string"
    }
  }
}
