import ApusCommands
@main struct Apus { static func main() {} }
