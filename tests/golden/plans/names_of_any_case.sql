SELECT S.Name, SKYMAP.HASH, skyMap.Run, G."name" AS "Group" FROM skyMap CROSS JOIN skymap s CROSS JOIN "GROUP" g CROSS JOIN skymap
