import ApusBroker
