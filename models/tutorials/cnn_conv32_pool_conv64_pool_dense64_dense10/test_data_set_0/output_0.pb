
BoutputJ
+¶™¬{ªjþ