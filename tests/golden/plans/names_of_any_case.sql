SELECT S.Name, SKYMAP.HASH, skyMap.Run, G."name" AS "Group" FROM skyMap CROSS JOIN skymap s LEFT JOIN "GROUP" g ON TRUE CROSS JOIN skymap
